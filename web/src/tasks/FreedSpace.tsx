/** What the removal of tasks would free. */

import { Loading } from "../components/notices";
import * as format from "../language/format";
import { useText } from "../language/language";
import type { Freed } from "./actions";

/** Nothing is shown until the server has told it. */
export function FreedSpace({ freed }: { freed: Freed | null }) {
  const t = useText();
  if (freed === null) return <Loading lines={2} />;
  return (
    <>
      <p>{t("confirm.remove_why")}</p>
      <dl className="facts">
        <dt>{t("confirm.checkpoints")}</dt>
        <dd>{format.bytes(freed.checkpointBytes)}</dd>
        <dt>{t("confirm.models", { n: freed.models })}</dt>
        <dd>{format.bytes(freed.modelBytes)}</dd>
      </dl>
      {freed.unfinished > 0 && <p className="hint">{t("confirm.unfinished", { n: freed.unfinished })}</p>}
    </>
  );
}
