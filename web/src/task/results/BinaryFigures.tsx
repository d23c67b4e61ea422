/**
 * Two classes: what the model would predict with another threshold, where that is on its ROC and precision-recall
 * curves, and whether its probabilities are right. A threshold that is chosen here changes nothing of the model.
 */

import { useId } from "react";

import type { Schemas } from "../../api/client";
import { CopyBlock } from "../../components/CopyBlock";
import { metricName } from "../../components/metrics";
import { TableFrame } from "../../components/TableFrame";
import * as format from "../../language/format";
import { useText } from "../../language/language";
import { Plot, type Area, type LegendEntry } from "./Plot";
import { line, nearest } from "./scale";
import { bestThreshold, countsOf, scoresOf, type Binary, type Counts, type ThresholdScores } from "./threshold";

interface BinaryProps {
  binary: Binary;
  rows: number;
  labels: readonly string[];
  target: string;
  /** The threshold that is looked at; null for that of the model, `decision`. */
  threshold: number | null;
  decision: number;
  onThreshold: (threshold: number | null) => void;
}

export function BinaryFigures({ binary, rows, labels, target, threshold, decision, onThreshold }: BinaryProps) {
  const t = useText();
  const all = countsOf(binary, rows);
  const thresholds = all.map((counts) => counts.threshold);
  const at = nearest(thresholds, threshold ?? decision);
  const chosen = all[at];
  const own = all[nearest(thresholds, decision)];
  if (chosen === undefined || own === undefined) return null;
  const shared = { binary, rows, chosen, own };
  return (
    <>
      <section className="threshold" aria-labelledby="threshold-title">
        <h2 id="threshold-title">{t("threshold.title", { target, label: binary.positive })}</h2>
        <ThresholdSlider all={all} at={at} decision={decision} onThreshold={onThreshold} />
        <div className="threshold-tables">
          <Matrix counts={chosen} labels={labels} />
          <ScoresBeside chosen={chosen} own={own} />
        </div>
        <p className="hint">{t("threshold.kept", { own: format.exact(decision) })}</p>
        {chosen.threshold !== own.threshold && chosen.threshold > 0 && chosen.threshold < 1 && (
          <CopyBlock label={t("threshold.option")} text={`"decision_threshold": ${chosen.threshold}`} />
        )}
      </section>
      <div className="charts charts-small">
        <Roc {...shared} />
        <PrecisionRecall {...shared} />
        <Calibration binary={binary} />
      </div>
    </>
  );
}

interface SliderProps {
  all: readonly Counts[];
  at: number;
  decision: number;
  onThreshold: (threshold: number | null) => void;
}

/** The slider moves from one known threshold to the next, so what is shown is counted and not estimated. */
function ThresholdSlider({ all, at, decision, onThreshold }: SliderProps) {
  const t = useText();
  const id = useId();
  const chosen = all[at]?.threshold ?? decision;
  const presets = [
    [t("threshold.model"), decision],
    [t("threshold.best", { metric: metricName("f1") }), bestThreshold(all, "f1")],
    [t("threshold.best", { metric: metricName("balanced_accuracy") }), bestThreshold(all, "balanced_accuracy")],
  ] as const;
  return (
    <div className="threshold-slider">
      <label htmlFor={id}>
        {t("threshold.threshold")} <b className="number">{format.exact(chosen)}</b>
      </label>
      <input
        id={id}
        type="range"
        min={0}
        max={all.length - 1}
        step={1}
        value={at}
        aria-valuetext={format.exact(chosen)}
        onChange={(event) => onThreshold(all[Number(event.target.value)]?.threshold ?? null)}
      />
      <div className="segments">
        {presets.map(([name, value]) =>
          value === null ? null : (
            <button key={name} type="button" aria-pressed={value === chosen} onClick={() => onThreshold(value)}>
              {name} <span className="number">{format.exact(value)}</span>
            </button>
          ),
        )}
      </div>
    </div>
  );
}

function Matrix({ counts, labels }: { counts: Counts; labels: readonly string[] }) {
  const t = useText();
  const lines = [
    [counts.trueNegatives, counts.falsePositives],
    [counts.falseNegatives, counts.truePositives],
  ];
  return <MatrixTable title={t("threshold.matrix", { threshold: format.exact(counts.threshold) })} labels={labels} matrix={lines} />;
}

const SHADES = 5;
const SHORT = 20;

/** Rows are true classes, columns predicted ones; the shade is the share of the row. */
export function MatrixTable({ title, labels, matrix }: { title: string; labels: readonly string[]; matrix: readonly (readonly number[])[] }) {
  const t = useText();
  return (
    <TableFrame label={title} isShort={matrix.length > SHORT}>
      <table className="table confusion">
        <caption>{title}</caption>
        <thead>
          <tr>
            <th scope="col">{t("results.true")}</th>
            {labels.map((label) => (
              <th key={label} scope="col" className="number">
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {matrix.map((row, at) => {
            const sum = row.reduce((a, b) => a + b, 0);
            return (
              <tr key={labels[at]}>
                <th scope="row">{labels[at]}</th>
                {row.map((cell, column) => (
                  <td key={labels[column]} className="number" data-shade={sum === 0 ? 0 : Math.ceil((cell / sum) * SHADES)} data-right={at === column}>
                    {format.count(cell)}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </TableFrame>
  );
}

const SCORES = ["accuracy", "precision", "recall", "f1", "balanced_accuracy"] as const satisfies readonly (keyof ThresholdScores)[];

function ScoresBeside({ chosen, own }: { chosen: Counts; own: Counts }) {
  const t = useText();
  const here = scoresOf(chosen);
  const there = scoresOf(own);
  const title = t("threshold.scores");
  const shown = (value: number | null): string => (value === null ? format.MISSING : format.value(value));
  return (
    <TableFrame label={title}>
      <table className="table">
        <caption>{title}</caption>
        <thead>
          <tr>
            <th scope="col">{t("results.metric")}</th>
            <th scope="col" className="number">
              {format.exact(chosen.threshold)}
            </th>
            <th scope="col" className="number">
              {t("threshold.model")} {format.exact(own.threshold)}
            </th>
          </tr>
        </thead>
        <tbody>
          {SCORES.map((name) => (
            <tr key={name}>
              <th scope="row">{metricName(name)}</th>
              <td className="number">{shown(here[name])}</td>
              <td className="number">{shown(there[name])}</td>
            </tr>
          ))}
          <tr>
            <th scope="row">{t("threshold.share")}</th>
            <td className="number">{here.share === null ? format.MISSING : format.share(here.share)}</td>
            <td className="number">{there.share === null ? format.MISSING : format.share(there.share)}</td>
          </tr>
        </tbody>
      </table>
    </TableFrame>
  );
}

interface CurveProps {
  binary: Binary;
  rows: number;
  chosen: Counts;
  own: Counts;
}

const UNIT = [0, 1] as const;

interface Place {
  x: number | null;
  y: number | null;
}

/** A ring at the threshold of the model, and a point at the chosen one; none where the curve is not defined there. */
function Points({ area, own, chosen }: { area: Area; own: Place; chosen: Place }) {
  return (
    <>
      {own.x !== null && own.y !== null && <circle className="plot-own" cx={area.x(own.x)} cy={area.y(own.y)} r={6.5} />}
      {chosen.x !== null && chosen.y !== null && <circle className="plot-chosen" data-testid="chosen" cx={area.x(chosen.x)} cy={area.y(chosen.y)} r={4.5} />}
    </>
  );
}

function useLegend(): LegendEntry[] {
  const t = useText();
  return [
    { label: t("threshold.chosen"), colour: "--series-2", kind: "point" },
    { label: t("threshold.own"), colour: "--text", kind: "ring" },
  ];
}

function Roc({ binary, chosen, own }: CurveProps) {
  const t = useText();
  const legend = useLegend();
  const { roc } = binary;
  if (roc === null) return <p className="hint">{t("plot.one_class")}</p>;
  const placeOf = (counts: Counts): Place => ({ x: scoresOf(counts).falsePositiveRate, y: scoresOf(counts).recall });
  return (
    <Plot
      title={t("plot.roc")}
      summary={`${metricName("auc")} ${format.value(roc.area)}`}
      x={{ label: t("plot.false_positive_rate"), range: UNIT }}
      y={{ label: t("plot.true_positive_rate"), range: UNIT }}
      legend={legend}
      note={`${metricName("auc")} ${format.value(roc.area)}`}
      numbers={{ head: [t("plot.false_positive_rate"), t("plot.true_positive_rate")], rows: pairs(roc) }}
    >
      {(area) => (
        <>
          <line className="plot-reference" x1={area.x(0)} y1={area.y(0)} x2={area.x(1)} y2={area.y(1)} />
          <path className="plot-line" stroke="var(--series-1)" d={line(roc.x, roc.y, area.x, area.y)} />
          <Points area={area} own={placeOf(own)} chosen={placeOf(chosen)} />
        </>
      )}
    </Plot>
  );
}

function PrecisionRecall({ binary, rows, chosen, own }: CurveProps) {
  const t = useText();
  const legend = useLegend();
  const curve = binary.precision_recall;
  if (curve === null) return null;
  const share = rows === 0 ? 0 : binary.positives / rows;
  const placeOf = (counts: Counts): Place => ({ x: scoresOf(counts).recall, y: scoresOf(counts).precision });
  const average = `${metricName("average_precision")} ${format.value(curve.area)}`;
  return (
    <Plot
      title={t("plot.precision_recall")}
      summary={average}
      x={{ label: metricName("recall"), range: UNIT }}
      y={{ label: metricName("precision"), range: UNIT }}
      legend={legend}
      note={`${average} · ${t("plot.share_positive", { share: format.share(share) })}`}
      numbers={{ head: [metricName("recall"), metricName("precision")], rows: pairs(curve) }}
    >
      {(area) => (
        <>
          <line className="plot-reference" x1={area.x(0)} y1={area.y(share)} x2={area.x(1)} y2={area.y(share)} />
          <path className="plot-line" stroke="var(--series-1)" d={line(curve.x, curve.y, area.x, area.y)} />
          <Points area={area} own={placeOf(own)} chosen={placeOf(chosen)} />
        </>
      )}
    </Plot>
  );
}

function pairs({ x, y }: Schemas["Curve"]): string[][] {
  return x.map((at, place) => [format.value(at), format.value(y[place])]);
}

const LARGEST_POINT = 9;

/** Probabilities that are right lie on the diagonal; larger points are more rows. */
function Calibration({ binary }: { binary: Binary }) {
  const t = useText();
  const bins = binary.calibration;
  const most = Math.max(1, ...bins.map(({ rows }) => rows));
  const xs = bins.map(({ predicted }) => predicted);
  const said = (at: number): string => {
    const bin = bins[at];
    if (bin === undefined) return "";
    return t("plot.bin", { rows: format.count(bin.rows), predicted: format.value(bin.predicted), observed: format.value(bin.observed) });
  };
  return (
    <Plot
      title={t("plot.calibration")}
      summary={bins.map((_, at) => said(at)).join("; ")}
      x={{ label: t("plot.mean_probability"), range: UNIT }}
      y={{ label: t("plot.observed", { label: binary.positive }), range: UNIT }}
      note={t("plot.calibration_note")}
      readout={{ xs, text: said }}
      numbers={{
        head: [t("plot.mean_probability"), t("plot.observed", { label: binary.positive }), t("results.support")],
        rows: bins.map(({ predicted, observed, rows }) => [format.value(predicted), format.value(observed), format.count(rows)]),
      }}
    >
      {(area) => (
        <>
          <line className="plot-reference" x1={area.x(0)} y1={area.y(0)} x2={area.x(1)} y2={area.y(1)} />
          <path className="plot-line" stroke="var(--series-1)" d={line(xs, bins.map(({ observed }) => observed), area.x, area.y)} />
          {bins.map(({ low, predicted, observed, rows }) => (
            <circle key={low} className="plot-dot" cx={area.x(predicted)} cy={area.y(observed)} r={2.5 + (LARGEST_POINT - 2.5) * Math.sqrt(rows / most)} />
          ))}
        </>
      )}
    </Plot>
  );
}
