/** What a model scores on each part of the rows, beside the best trivial predictions. */

import type { Schemas } from "../../api/client";
import { baselineName, isBetter, metricName, METRICS } from "../../components/metrics";
import { TableFrame } from "../../components/TableFrame";
import * as format from "../../language/format";
import { useText } from "../../language/language";
import { SIDES, type Side } from "../../router";

export type Final = Schemas["FinalMetrics"];
type Values = Record<string, number | null | undefined>;

/** The best baseline of a side in one metric. */
function best(final: Final, side: Side, metric: string): { name: string; value: number } | null {
  let found: { name: string; value: number } | null = null;
  for (const baseline of final.baselines[side] ?? []) {
    const value = (baseline as unknown as Values)[metric];
    if (typeof value === "number" && (found === null || isBetter(metric, value, found.value))) found = { name: baseline.name, value };
  }
  return found;
}

export function Scores({ final, scored }: { final: Final; scored: Side }) {
  const t = useText();
  const sides = SIDES.filter((side) => final[side]);
  const rows = METRICS.filter((metric) => sides.some((side) => typeof (final[side] as unknown as Values)[metric] === "number"));
  return (
    <TableFrame label={t("results.scores")}>
      <table className="table">
        <caption>{t("results.scores")}</caption>
        <thead>
          <tr>
            <th>{t("results.metric")}</th>
            {sides.map((side) => (
              <th key={side} className="number">
                {t(`side.${side}`)} <span className="muted">({format.count(final[side]?.rows)})</span>
              </th>
            ))}
            <th>{t("results.baseline", { side: t(`side.${scored}`) })}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((metric) => {
            const baseline = best(final, scored, metric);
            const value = (final[scored] as unknown as Values)[metric];
            const isGood = baseline !== null && typeof value === "number" && isBetter(metric, value, baseline.value);
            return (
              <tr key={metric} data-main={metric === final.main_metric}>
                <th scope="row">{metricName(metric)}</th>
                {sides.map((side) => (
                  <td key={side} className="number">
                    {format.value((final[side] as unknown as Values)[metric])}
                  </td>
                ))}
                <td>
                  {baseline === null ? (
                    format.MISSING
                  ) : (
                    <span className={isGood ? "versus versus-better" : "versus versus-worse"}>
                      <span aria-hidden="true">{isGood ? "▲" : "▼"}</span> <span className="number">{format.value(baseline.value)}</span>{" "}
                      {baselineName(baseline.name)}
                      <span className="visually-hidden">{t(isGood ? "baseline.better" : "baseline.worse")}</span>
                    </span>
                  )}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </TableFrame>
  );
}

