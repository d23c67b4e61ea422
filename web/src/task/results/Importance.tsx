/** What the predictions depend on: the importance of each column, and how predictions change with one of them. */

import { useState } from "react";

import type { Schemas } from "../../api/client";
import { metricName } from "../../components/metrics";
import { TableFrame } from "../../components/TableFrame";
import * as format from "../../language/format";
import { useText } from "../../language/language";
import { Picture } from "./Picture";
import { Plot } from "./Plot";
import { around, line, scale, type Scale } from "./scale";

type Importances = Schemas["Importances"];
type Task = Schemas["ReportValues"]["task"];

const SHOWN = 12;
const NAMED = 12;

export function Importance({ importances, task, labels }: { importances: Importances; task: Task; labels: readonly string[] }) {
  const t = useText();
  const [isAll, setIsAll] = useState(false);
  const { columns, skipped, rows, part, image } = importances;
  const shown = isAll ? columns : columns.slice(0, SHOWN);
  const title = t("results.importance");
  const ends = columns.flatMap(({ loss, deviation }) => [loss - deviation, loss + deviation]);
  const x = scale([Math.min(0, ...ends), Math.max(1e-12, ...ends)], [0, BAR_WIDTH]);
  const side = part === "validation" || part === "test" ? part : "train";
  return (
    <section>
      <h2 className="small-head">{title}</h2>
      <p className="hint results-notes">{t("results.importance_what", { rows: format.count(rows), side: t(`side.${side}`) })}</p>
      <div className="columns">
        <div>
          <TableFrame label={title}>
            <table className="table importance">
              <caption className="visually-hidden">{title}</caption>
              <thead>
                <tr>
                  <th scope="col">{t("columns.column")}</th>
                  <th scope="col">{t("results.loss_increase")}</th>
                  <th scope="col" className="number">
                    ± {t("results.deviation")}
                  </th>
                  <th scope="col" className="number">
                    {t("results.score_loss", { score: metricName(task === "regression" ? "r2" : "accuracy") })}
                  </th>
                </tr>
              </thead>
              <tbody>
                {shown.map((one) => (
                  <tr key={one.column}>
                    <th scope="row" className="cut" title={one.column}>
                      {one.column}
                    </th>
                    <td>
                      <Bar one={one} x={x} /> <span className="number">{format.value(one.loss)}</span>
                    </td>
                    <td className="number">{one.repeats > 1 ? format.value(one.deviation) : format.MISSING}</td>
                    <td className="number">{format.value(one.score)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </TableFrame>
          {columns.length > SHOWN && (
            <button type="button" className="button all-columns" aria-expanded={isAll} onClick={() => setIsAll(!isAll)}>
              {isAll ? t("results.fewer") : t("results.all_columns", { n: format.count(columns.length) })}
            </button>
          )}
          {skipped.length > 0 && (
            <p className="hint">
              {t("results.skipped", { n: format.count(skipped.length) })} {skipped.slice(0, NAMED).join(", ")}
              {skipped.length > NAMED && " …"}
            </p>
          )}
        </div>
        <div>
          <Dependence dependence={importances.dependence} task={task} labels={labels} />
          {image !== null && (
            <figure className="chart">
              <figcaption>
                <span className="chart-title">{t("results.importance_image")}</span>
              </figcaption>
              <Picture address={image} label={t("results.importance_image")} size={160} />
            </figure>
          )}
        </div>
      </div>
    </section>
  );
}

const BAR_WIDTH = 120;
const BAR_HEIGHT = 16;

/** The increase of the loss, with a line from one standard deviation below to one above. */
function Bar({ one, x }: { one: Schemas["Importance"]; x: Scale }) {
  const [from, to] = [x(0), x(one.loss)];
  const middle = BAR_HEIGHT / 2;
  return (
    <svg className="importance-bar" viewBox={`0 0 ${BAR_WIDTH} ${BAR_HEIGHT}`} width={BAR_WIDTH} height={BAR_HEIGHT} aria-hidden="true">
      <rect className="plot-bar" x={Math.min(from, to)} width={Math.max(1, Math.abs(to - from))} y={3} height={BAR_HEIGHT - 6} />
      {one.repeats > 1 && <line className="importance-deviation" x1={x(one.loss - one.deviation)} x2={x(one.loss + one.deviation)} y1={middle} y2={middle} />}
    </svg>
  );
}

/** The mean prediction if the column had one value in all rows. */
function Dependence({ dependence, task, labels }: { dependence: Importances["dependence"]; task: Task; labels: readonly string[] }) {
  const t = useText();
  const [column, setColumn] = useState<string | null>(null);
  const chosen = dependence.find((one) => one.column === column) ?? dependence[0];
  if (chosen === undefined) return <p className="hint">{t("results.no_dependence")}</p>;
  const { categories, lines } = chosen;
  const xs = categories.length > 0 ? categories.map((_, at) => at) : chosen.x;
  const name = (at: number): string => categories[at] ?? format.value(chosen.x[at]);
  const y = {
    binary: t("plot.mean_probability_of", { label: labels[1] ?? "" }),
    multiclass: t("plot.mean_probability"),
    regression: t("plot.mean_prediction"),
  }[task];
  const every = dependence.flatMap((one) => one.lines.flatMap((drawn) => drawn.y));
  const said = (at: number): string =>
    `${chosen.column} ${name(at)}: ${lines.map((one) => `${one.label === "" ? "" : `${one.label} `}${format.value(one.y[at])}`).join(", ")}`;
  return (
    <>
      <div className="toolbar">
        <label className="inline">
          {t("results.dependence_of")}{" "}
          <select value={chosen.column} onChange={(event) => setColumn(event.target.value)}>
            {dependence.map((one) => (
              <option key={one.column}>{one.column}</option>
            ))}
          </select>
        </label>
      </div>
      <Plot
        title={t("results.dependence")}
        summary={[0, xs.length - 1].map(said).join("; ")}
        x={{
          label: chosen.column,
          range: categories.length > 0 ? [-0.5, categories.length - 0.5] : around(xs, 0.02),
          ...(categories.length > 0 ? { marks: categories.map((label, at) => ({ at, label: label.slice(0, 12) })) } : {}),
        }}
        y={{ label: y, range: around(every) }}
        legend={lines.filter(({ label }) => label !== "").map(({ label }, at) => ({ label, colour: `--series-${(at % 8) + 1}` }))}
        note={t("results.dependence_note")}
        readout={{ xs, text: said }}
        numbers={{
          head: [chosen.column, ...lines.map(({ label }) => (label === "" ? y : label))],
          rows: xs.map((_, at) => [name(at), ...lines.map((one) => format.value(one.y[at]))]),
        }}
      >
        {(area) =>
          lines.map((one, at) => (
            <g key={one.label}>
              {categories.length === 0 && <path className="plot-line" stroke={`var(--series-${(at % 8) + 1})`} d={line(xs, one.y, area.x, area.y)} />}
              {xs.map((place, index) => (
                <circle key={index} fill={`var(--series-${(at % 8) + 1})`} cx={area.x(place)} cy={area.y(one.y[index] ?? 0)} r={categories.length > 0 ? 4.5 : 2.5} />
              ))}
            </g>
          ))
        }
      </Plot>
    </>
  );
}
