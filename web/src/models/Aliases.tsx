/** The aliases of a model, by which programs name a version: each can be moved to the version that is shown, or removed. */

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState, type SubmitEvent } from "react";

import { api, data, type Schemas } from "../api/client";
import { ErrorNote } from "../components/notices";
import { useText } from "../language/language";

/** A version of null removes the alias. */
interface Change {
  alias: string;
  version: string | null;
}

export function Aliases({ model }: { model: Schemas["ModelDetail"] }) {
  const t = useText();
  const queryClient = useQueryClient();
  const [typed, setTyped] = useState("");
  const change = useMutation({
    mutationFn: ({ alias, version }: Change) => {
      const path = { model: model.model, alias };
      return version === null
        ? data(api.DELETE("/api/v1/models/{model}/aliases/{alias}", { params: { path } }))
        : data(api.PUT("/api/v1/models/{model}/aliases/{alias}", { params: { path }, body: { version } }));
    },
    onSuccess: async (_, { version }) => {
      if (version !== null) setTyped("");
      await Promise.all([queryClient.invalidateQueries({ queryKey: ["model"] }), queryClient.invalidateQueries({ queryKey: ["models"] })]);
    },
  });
  const found = Object.entries(model.aliases).sort(([a], [b]) => a.localeCompare(b));
  const submit = (event: SubmitEvent<HTMLFormElement>): void => {
    event.preventDefault();
    change.mutate({ alias: typed.trim(), version: model.version });
  };
  return (
    <section className="step" aria-labelledby="aliases">
      <h2 id="aliases">{t("models.aliases")}</h2>
      {found.length === 0 && <p className="hint">{t("alias.none")}</p>}
      <ul className="aliases">
        {found.map(([alias, version]) => (
          <li key={alias}>
            <b>{alias}</b>
            <span aria-hidden="true">→</span>
            {version === model.version ? (
              <span className="hint">{t("alias.here")}</span>
            ) : (
              <Link to="/models/$" params={{ _splat: model.model }} search={{ version }}>
                <code>{version.slice(-6)}</code>
              </Link>
            )}
            <span className="controls-row">
              {version !== model.version && (
                <button type="button" className="button button-quiet" disabled={change.isPending} onClick={() => change.mutate({ alias, version: model.version })} aria-label={t("alias.move_of", { alias })}>
                  {t("alias.move")}
                </button>
              )}
              <button type="button" className="button button-quiet" disabled={change.isPending} onClick={() => change.mutate({ alias, version: null })} aria-label={t("alias.remove_of", { alias })}>
                {t("alias.remove")}
              </button>
            </span>
          </li>
        ))}
      </ul>
      <form className="controls-row" onSubmit={submit}>
        <input type="text" value={typed} placeholder="champion" maxLength={120} aria-label={t("alias.new")} onChange={(event) => setTyped(event.target.value)} />
        <button type="submit" className="button" disabled={typed.trim() === "" || change.isPending}>
          {t("alias.set")}
        </button>
      </form>
      <ErrorNote error={change.error} />
    </section>
  );
}
