/** Single rows: those that the model predicts worst and best, with their picture or sequence where they have one. */

import type { Schemas } from "../../api/client";
import { TableFrame } from "../../components/TableFrame";
import * as format from "../../language/format";
import { useText } from "../../language/language";
import { Picture } from "./Picture";
import { around, line, scale } from "./scale";

type Example = Schemas["Example"];

export function Examples({ worst, best }: { worst: readonly Example[]; best: readonly Example[] }) {
  const t = useText();
  return (
    <div className="charts examples">
      <ExampleTable title={t("results.worst")} examples={worst} />
      <ExampleTable title={t("results.best")} examples={best} />
    </div>
  );
}

function ExampleTable({ title, examples }: { title: string; examples: readonly Example[] }) {
  const t = useText();
  if (examples.length === 0) return null;
  const hasPictures = examples.some(({ image, series }) => image !== null || series.length > 0);
  const hasErrors = examples.some(({ error }) => error !== null);
  return (
    <TableFrame label={title}>
      <table className="table">
        <caption>{title}</caption>
        <thead>
          <tr>
            <th scope="col" className="number">
              {t("results.row_number")}
            </th>
            {hasPictures && <th scope="col">{t("results.input")}</th>}
            <th scope="col">{t("results.truth")}</th>
            <th scope="col">{t("results.prediction")}</th>
            <th scope="col" className="number">
              {t(hasErrors ? "results.error" : "results.probability")}
            </th>
          </tr>
        </thead>
        <tbody>
          {examples.map((one) => (
            <tr key={one.row}>
              <th scope="row" className="number">
                {format.count(one.row)}
              </th>
              {hasPictures && (
                <td>
                  {one.image !== null && <Picture address={one.image} label={t("results.row_picture", { row: one.row })} size={64} />}
                  {one.series.length > 0 && <Sequence series={one.series} label={t("results.row_picture", { row: one.row })} />}
                </td>
              )}
              <td>{one.truth}</td>
              <td>{one.predicted}</td>
              <td className="number">{hasErrors ? format.value(one.error) : one.probability === null ? format.MISSING : format.value(one.probability)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableFrame>
  );
}

const WIDTH = 180;
const HEIGHT = 48;

/** The first channels of a sequence over its steps. */
function Sequence({ series, label }: { series: readonly (readonly number[])[]; label: string }) {
  const y = scale(around(series.flat()), [HEIGHT, 0]);
  return (
    <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} role="img" aria-label={label}>
      {series.map((values, at) => (
        <path key={at} className="plot-line" stroke={`var(--series-${(at % 8) + 1})`} d={line(values.map((_, step) => step), values, scale([0, Math.max(1, values.length - 1)], [0, WIDTH]), y)} />
      ))}
    </svg>
  );
}
