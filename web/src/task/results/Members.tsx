/** What each of several networks scores on its own: the folds of a cross-validation, or the members of an ensemble. */

import type { Schemas } from "../../api/client";
import { metricName, METRICS } from "../../components/metrics";
import { TableFrame } from "../../components/TableFrame";
import * as format from "../../language/format";
import { useText } from "../../language/language";

type Values = Record<string, number | null | undefined>;

export function Members({ members, isFolds }: { members: Schemas["MembersMetrics"]; isFolds: boolean }) {
  const t = useText();
  const mean = members.mean as unknown as Values;
  const std = members.std as unknown as Values;
  const metrics = METRICS.filter((metric) => typeof mean[metric] === "number");
  const title = t(isFolds ? "members.folds" : "members.ensemble", { n: members.each.length });
  return (
    <>
      <TableFrame label={title}>
        <table className="table">
          <caption>{title}</caption>
          <thead>
            <tr>
              <th>{t(isFolds ? "members.fold" : "members.member")}</th>
              <th className="number">{t("members.rows")}</th>
              <th className="number">{t("members.best_epoch")}</th>
              {metrics.map((metric) => (
                <th key={metric} className="number">
                  {metricName(metric)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {members.each.map((one, place) => (
              <tr key={place}>
                <th scope="row">{place + 1}</th>
                <td className="number">{format.count(one.rows)}</td>
                <td className="number">{format.count(one.best_epoch)}</td>
                {metrics.map((metric) => (
                  <td key={metric} className="number">
                    {format.value((one as unknown as Values)[metric])}
                  </td>
                ))}
              </tr>
            ))}
            <tr data-main={true}>
              <th scope="row">{t("members.mean")}</th>
              <td />
              <td />
              {metrics.map((metric) => (
                <td key={metric} className="number">
                  {format.value(mean[metric])} ± {format.value(std[metric])}
                </td>
              ))}
            </tr>
          </tbody>
        </table>
      </TableFrame>
      <p className="hint">{t(isFolds ? "members.folds_note" : "members.ensemble_note")}</p>
    </>
  );
}
