/** Where the time of a task went: a bar with a part for each phase, and the names and times of the phases below it. */

import type { Schemas } from "../api/client";
import type { Key } from "../language/catalogue";
import * as format from "../language/format";
import { useText } from "../language/language";
import { shares } from "./phases";

export function Timings({ timings }: { timings: Schemas["Timings"] }) {
  const t = useText();
  const { total, parts } = shares(timings);
  if (total === 0) return null;
  return (
    <section className="timings" aria-labelledby="timings-title">
      <h2 id="timings-title">{t("timings.title", { time: format.duration(total) })}</h2>
      <svg className="timings-bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">
        {parts.map(({ phase, from, share }) => (
          <rect key={phase} data-phase={phase} x={100 * from} y={0} width={100 * share} height={1} />
        ))}
      </svg>
      <dl className="facts facts-row">
        {parts.map(({ phase, seconds, share }) => (
          <div key={phase} title={t(`timings.${phase}.what` as Key)}>
            <dt>
              <svg className="timings-key" viewBox="0 0 1 1" aria-hidden="true">
                <rect data-phase={phase} width={1} height={1} />
              </svg>{" "}
              {t(`timings.${phase}` as Key)}
            </dt>
            <dd>
              {format.duration(seconds)} <span className="muted">{format.share(share)}</span>
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
