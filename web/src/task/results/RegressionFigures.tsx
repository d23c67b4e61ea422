/** A number is predicted: how the errors are distributed, where they are large, and forecasts over time. */

import { useState } from "react";

import type { Schemas } from "../../api/client";
import { metricName } from "../../components/metrics";
import { TableFrame } from "../../components/TableFrame";
import * as format from "../../language/format";
import { useText } from "../../language/language";
import { Plot } from "./Plot";
import { around, line, type Range } from "./scale";

type Regression = Schemas["Regression"];

export function RegressionFigures({ regression, target }: { regression: Regression; target: string }) {
  return (
    <>
      <div className="charts">
        <Predicted regression={regression} target={target} />
        <Residuals regression={regression} target={target} />
      </div>
      <ErrorGroups regression={regression} target={target} />
    </>
  );
}

interface FigureProps {
  regression: Regression;
  target: string;
}

/** Each row is a point; for many rows the darker cells have more of them. */
function Predicted({ regression, target }: FigureProps) {
  const t = useText();
  const { truth, predicted, density } = regression;
  const range: Range = [regression.bounds[0] ?? 0, regression.bounds[1] ?? 1];
  const margin: Range = around(range);
  const truthLabel = t("plot.truth", { target });
  const predictedLabel = t("plot.predicted", { target });
  const most = Math.max(1, ...(density ?? []).flat());
  const step = (range[1] - range[0]) / (density?.length ?? 1);
  return (
    <Plot
      title={t("plot.predicted_and_true")}
      summary={t("plot.points", { n: truth.length })}
      x={{ label: truthLabel, range: margin }}
      y={{ label: predictedLabel, range: margin }}
      height={320}
      note={t(density === null ? "plot.diagonal" : "plot.density")}
      numbers={{ head: [truthLabel, predictedLabel], rows: truth.map((value, at) => [format.value(value), format.value(predicted[at])]) }}
    >
      {(area) => (
        <>
          {density === null
            ? truth.map((value, at) => <circle key={at} className="plot-dot plot-dot-small" cx={area.x(value)} cy={area.y(predicted[at] ?? 0)} r={3} />)
            : density.flatMap((cells, up) =>
                cells.map((count, across) => {
                  if (count === 0) return null;
                  const [left, bottom] = [range[0] + across * step, range[0] + up * step];
                  const width = area.x(left + step) - area.x(left);
                  const height = area.y(bottom) - area.y(bottom + step);
                  const opacity = 0.15 + 0.85 * (Math.log1p(count) / Math.log1p(most));
                  return <rect key={`${up} ${across}`} className="plot-bar" x={area.x(left)} y={area.y(bottom + step)} width={width} height={height} fillOpacity={opacity} />;
                }),
              )}
          <line className="plot-reference" x1={area.x(range[0])} y1={area.y(range[0])} x2={area.x(range[1])} y2={area.y(range[1])} />
        </>
      )}
    </Plot>
  );
}

function Residuals({ regression, target }: FigureProps) {
  const t = useText();
  const { edges, residuals } = regression;
  const most = Math.max(1, ...residuals);
  const range: Range = [edges[0] ?? 0, edges.at(-1) ?? 1];
  const middles = residuals.map((_, at) => ((edges[at] ?? 0) + (edges[at + 1] ?? 0)) / 2);
  const said = (at: number): string =>
    t("plot.bar", { low: format.value(edges[at]), high: format.value(edges[at + 1]), rows: format.count(residuals[at]) });
  const label = t("plot.residual", { target });
  return (
    <Plot
      title={t("plot.residuals")}
      summary={said(residuals.indexOf(most))}
      x={{ label, range: around(range, 0.02) }}
      y={{ label: t("results.support"), range: [0, most * 1.05] }}
      height={320}
      note={t("plot.residuals_note")}
      readout={{ xs: middles, text: said }}
      numbers={{
        head: [t("plot.from"), t("plot.to"), t("results.support")],
        rows: residuals.map((rows, at) => [format.value(edges[at]), format.value(edges[at + 1]), format.count(rows)]),
      }}
    >
      {(area) => (
        <>
          {residuals.map((rows, at) => {
            const [left, right] = [area.x(edges[at] ?? 0), area.x(edges[at + 1] ?? 0)];
            return <rect key={at} className="plot-bar" x={left + 0.5} width={Math.max(1, right - left - 1)} y={area.y(rows)} height={area.y(0) - area.y(rows)} />;
          })}
          {range[0] < 0 && range[1] > 0 && <line className="plot-reference" x1={area.x(0)} x2={area.x(0)} y1={area.y(0)} y2={area.y(most)} />}
        </>
      )}
    </Plot>
  );
}

function ErrorGroups({ regression, target }: FigureProps) {
  const t = useText();
  const title = t("results.error_groups", { target });
  return (
    <TableFrame label={title}>
      <table className="table">
        <caption>{title}</caption>
        <thead>
          <tr>
            <th scope="col">{t("plot.truth", { target })}</th>
            <th scope="col" className="number">
              {t("results.support")}
            </th>
            <th scope="col" className="number">
              {t("results.mean_predicted")}
            </th>
            <th scope="col" className="number">
              {metricName("mae")}
            </th>
            <th scope="col" className="number">
              {t("results.bias")}
            </th>
          </tr>
        </thead>
        <tbody>
          {regression.groups.map(({ low, high, rows, predicted, error, bias }) => (
            <tr key={low}>
              <th scope="row" className="number-range">
                {format.value(low)} – {format.value(high)}
              </th>
              <td className="number">{format.count(rows)}</td>
              <td className="number">{format.value(predicted)}</td>
              <td className="number">{format.value(error)}</td>
              <td className="number">{format.value(bias)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableFrame>
  );
}

/** The newest windows of a group: what was true, and what the model predicts for these moments. */
export function Forecasts({ forecasts, target }: { forecasts: readonly Schemas["Forecast"][]; target: string }) {
  const t = useText();
  const [chosen, setChosen] = useState(0);
  const forecast = forecasts[chosen] ?? forecasts[0];
  if (forecast === undefined) return null;
  const { at, times, truth, predicted, group } = forecast;
  const said = (place: number): string =>
    t("plot.forecast_at", { time: times[place] ?? "", truth: format.value(truth[place]), predicted: format.value(predicted[place]) });
  return (
    <section>
      {forecasts.length > 1 && (
        <div className="toolbar">
          <label className="inline">
            {t("results.group")}{" "}
            <select value={chosen} onChange={(event) => setChosen(Number(event.target.value))}>
              {forecasts.map((one, place) => (
                <option key={place} value={place}>
                  {one.group}
                </option>
              ))}
            </select>
          </label>
        </div>
      )}
      <Plot
        title={group === null ? t("plot.forecast") : `${t("plot.forecast")}: ${group}`}
        summary={said(at.length - 1)}
        x={{ label: t("plot.time"), range: around(at, 0), marks: at.map((place, index) => ({ at: place, label: shortTime(times[index] ?? "") })) }}
        y={{ label: target, range: around([...truth, ...predicted]) }}
        height={300}
        legend={[
          { label: t("results.truth"), colour: "--series-3" },
          { label: t("results.prediction"), colour: "--series-1" },
        ]}
        note={t("plot.forecast_note", { n: format.count(at.length) })}
        readout={{ xs: at, text: said }}
        numbers={{
          head: [t("plot.time"), t("results.truth"), t("results.prediction")],
          rows: at.map((_, place) => [times[place] ?? "", format.value(truth[place]), format.value(predicted[place])]),
        }}
      >
        {(area) => (
          <>
            <path className="plot-line" stroke="var(--series-3)" d={line(at, truth, area.x, area.y)} />
            <path className="plot-line" stroke="var(--series-1)" d={line(at, predicted, area.x, area.y)} />
          </>
        )}
      </Plot>
    </section>
  );
}

/** Without midnight, which days have. */
function shortTime(time: string): string {
  return time.replace(/[ T]00:00(:00)?(\.0+)?$/, "");
}
