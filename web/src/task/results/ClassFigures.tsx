/** Classes: which are taken for which, and how good the model is at each. */

import type { Schemas } from "../../api/client";
import { metricName } from "../../components/metrics";
import { TableFrame } from "../../components/TableFrame";
import * as format from "../../language/format";
import { useText } from "../../language/language";
import { MatrixTable } from "./BinaryFigures";

type Side = Schemas["SideMetrics"];
type Figures = Schemas["Classification"] | null;

const MATRIX_CLASSES = 40;
const SHOWN_CLASSES = 200;

/** The confusion matrix of all rows of a side. */
export function Confusion({ metrics, title }: { metrics: Side; title: string }) {
  const labels = metrics.per_class?.map(({ label }) => String(label)) ?? [];
  const matrix = metrics.confusion_matrix;
  if (!matrix || matrix.length === 0 || matrix.length > MATRIX_CLASSES) return null;
  return <MatrixTable title={title} labels={labels} matrix={matrix} />;
}

const PAIRS_FROM = 6;

/** The pairs of classes that are confused most: a matrix of many classes is hard to read. */
export function ConfusedPairs({ figures }: { figures: Figures }) {
  const t = useText();
  if (figures === null || figures.labels.length < PAIRS_FROM || figures.confused.length === 0) return null;
  const rowsOf = new Map(figures.per_class.map(({ label, rows }) => [label, rows]));
  return (
    <TableFrame label={t("results.confused")} isShort>
      <table className="table">
        <caption>{t("results.confused")}</caption>
        <thead>
          <tr>
            <th scope="col">{t("results.true_class")}</th>
            <th scope="col">{t("results.predicted_class")}</th>
            <th scope="col" className="number">
              {t("results.support")}
            </th>
            <th scope="col" className="number">
              {t("results.share_of_class")}
            </th>
          </tr>
        </thead>
        <tbody>
          {figures.confused.map(({ truth, predicted, rows }) => (
            <tr key={`${truth} ${predicted}`}>
              <th scope="row">{truth}</th>
              <td>{predicted}</td>
              <td className="number">{format.count(rows)}</td>
              <td className="number">{format.share(rows / Math.max(1, rowsOf.get(truth) ?? 0))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableFrame>
  );
}

const COLUMNS = ["precision", "recall", "f1"] as const;

export function PerClass({ metrics, figures, title }: { metrics: Side; figures: Figures; title: string }) {
  const t = useText();
  const classes = metrics.per_class;
  if (!classes || classes.length === 0) return null;
  const areas = new Map(figures?.per_class.map(({ label, auc }) => [label, auc]));
  const hasAreas = [...areas.values()].some((area) => area !== null);
  return (
    <TableFrame label={title} isShort>
      <table className="table">
        <caption>{title}</caption>
        <thead>
          <tr>
            <th scope="col">{t("results.class")}</th>
            {COLUMNS.map((metric) => (
              <th key={metric} scope="col" className="number">
                {metricName(metric)}
              </th>
            ))}
            {hasAreas && (
              <th scope="col" className="number">
                {metricName("auc")}
              </th>
            )}
            <th scope="col" className="number">
              {t("results.support")}
            </th>
            <th scope="col" className="number">
              {t("results.predicted")}
            </th>
          </tr>
        </thead>
        <tbody>
          {classes.slice(0, SHOWN_CLASSES).map((one) => (
            <tr key={String(one.label)}>
              <th scope="row">{String(one.label)}</th>
              {COLUMNS.map((metric) => (
                <td key={metric} className="number">
                  {format.value(one[metric])}
                </td>
              ))}
              {hasAreas && <td className="number">{format.value(areas.get(String(one.label)))}</td>}
              <td className="number">{format.count(one.support)}</td>
              <td className="number">{format.count(one.predicted)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {classes.length > SHOWN_CLASSES && <p className="hint table-hint">{t("results.more_classes", { n: format.count(classes.length - SHOWN_CLASSES) })}</p>}
    </TableFrame>
  );
}
