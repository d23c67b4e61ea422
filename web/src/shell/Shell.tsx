/** The frame of every page: navigation, language, theme, whether the server answers, and the question for a token. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useLocation } from "@tanstack/react-router";
import { Activity, useEffect, useRef, useState, type SubmitEvent } from "react";

import { ApiError, BASE, session, useSession } from "../api/client";
import { health } from "../api/queries";
import { ErrorNote } from "../components/notices";
import type { Key } from "../language/catalogue";
import { choose as chooseLanguage, useLanguage, useText } from "../language/language";
import { choose as chooseTheme, useTheme, type Theme } from "./theme";

/** Drawn on a grid of 16: one path each. */
const PAGES = [
  { to: "/tasks", label: "nav.tasks", icon: "M2 4h2M6.5 4H14M2 8h2M6.5 8H14M2 12h2M6.5 12H14" },
  { to: "/start", label: "nav.start", icon: "M8 2.5v11M2.5 8h11" },
  { to: "/compare", label: "nav.compare", icon: "M2 12c3-9 5-9 7-4s3 3 5-3M2 5c3 0 4 6 12 7" },
  { to: "/models", label: "nav.models", icon: "M8 1.8 14 5v6l-6 3.2L2 11V5zM2 5l6 3.2L14 5M8 8.2v6" },
  { to: "/datasets", label: "nav.datasets", icon: "M2.5 4c0-2.4 11-2.4 11 0v8c0 2.4-11 2.4-11 0zM2.5 4c0 2.4 11 2.4 11 0M2.5 8c0 2.4 11 2.4 11 0" },
  { to: "/system", label: "nav.system", icon: "M2 3h12v4H2zM2 9h12v4H2zM4.5 5h.1M4.5 11h.1" },
] as const satisfies readonly { to: string; label: Key; icon: string }[];

const THEMES: readonly Theme[] = ["system", "light", "dark"];

export function Shell() {
  const t = useText();
  const main = useRef<HTMLElement>(null);
  const { pathname } = useLocation();
  const queryClient = useQueryClient();
  const { access } = useSession();
  const place = PAGES.find(({ to }) => pathname.startsWith(to));

  useEffect(() => {
    document.title = place === undefined ? "epochd" : `${t(place.label)} · epochd`;
  }, [place, t]);

  useEffect(() => {
    if (access === "closed") queryClient.clear();
    if (access === "expired") void queryClient.invalidateQueries({ refetchType: "none" });
  }, [access, queryClient]);

  return (
    <div className="shell">
      <button type="button" className="skip" onClick={() => main.current?.focus()}>
        {t("nav.skip")}
      </button>
      <header className="sidebar">
        <Link to="/tasks" className="brand">
          <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
            <rect width="32" height="32" rx="8" className="brand-ground" />
            <path d="M6 9c3 0 4 12 9 12s4-5 11-6" className="brand-curve" />
          </svg>
          epochd
        </Link>
        <nav aria-label={t("nav.label")}>
          {PAGES.map(({ to, label, icon }) => (
            <Link key={to} to={to} className="nav-link" activeProps={{ className: "nav-link nav-here", "aria-current": "page" }}>
              <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
                <path d={icon} />
              </svg>
              <span>{t(label)}</span>
            </Link>
          ))}
        </nav>
        <Preferences />
      </header>
      <main ref={main} tabIndex={-1} className="main">
        {(access === "closed" || access === "expired") && <Login isAgain={access === "expired"} />}
        {access !== "closed" && (
          // What has been entered and chosen on the page stays while a token is asked for again.
          <Activity mode={access === "expired" ? "hidden" : "visible"}>
            <ServerNote />
            <Outlet />
          </Activity>
        )}
      </main>
    </div>
  );
}

function Preferences() {
  const t = useText();
  const language = useLanguage();
  const { theme } = useTheme();
  const queryClient = useQueryClient();
  const { access, isTokenRequired } = useSession();
  const leave = useMutation({ mutationFn: session.leave });
  return (
    <div className="preferences">
      <label className="visually-hidden" htmlFor="language">
        {t("preferences.language")}
      </label>
      <select
        id="language"
        value={language}
        onChange={(event) => {
          chooseLanguage(event.target.value === "zh" ? "zh" : "en");
          void queryClient.invalidateQueries(); // the server's sentences have a language too
        }}
      >
        <option value="en">English</option>
        <option value="zh">中文</option>
      </select>
      <label className="visually-hidden" htmlFor="theme">
        {t("preferences.theme")}
      </label>
      <select id="theme" value={theme} onChange={(event) => chooseTheme(THEMES.find((one) => one === event.target.value) ?? "system")}>
        {THEMES.map((one) => (
          <option key={one} value={one}>
            {t(`theme.${one}`)}
          </option>
        ))}
      </select>
      {access === "open" && isTokenRequired && (
        <button type="button" className="button button-quiet" disabled={leave.isPending} onClick={() => leave.mutate()}>
          {t("login.leave")}
        </button>
      )}
      <a className="quiet-link" href={`${BASE}docs`}>
        API
      </a>
    </div>
  );
}

/** A line above the page while the server does not answer, or cannot train. */
function ServerNote() {
  const t = useText();
  const { data, error } = useQuery(health);
  if (error instanceof ApiError && error.code === "unreachable") {
    return (
      <div className="note note-error" role="status">
        {t("error.unreachable")} {t("error.trying_again")}
      </div>
    );
  }
  if (data !== undefined && data.status !== "ok") {
    return (
      <div className="note note-error" role="status">
        {data.message}
      </div>
    );
  }
  return null;
}

/** Asks for a token, which is sent once and kept by nobody. */
function Login({ isAgain }: { isAgain: boolean }) {
  const t = useText();
  const [token, setToken] = useState("");
  const enter = useMutation({ mutationFn: () => session.enter(token.trim()) });
  const isWrong = enter.error instanceof ApiError && enter.error.status === 401;
  const submit = (event: SubmitEvent<HTMLFormElement>): void => {
    event.preventDefault();
    enter.mutate();
  };
  return (
    <form className="login" onSubmit={submit}>
      <h1>{t(isAgain ? "login.again" : "login.title")}</h1>
      <p className="hint">{t("login.why")}</p>
      <label htmlFor="token">{t("login.token")}</label>
      <input
        id="token"
        type="password"
        autoComplete="off"
        autoFocus
        required
        value={token}
        aria-invalid={isWrong}
        aria-describedby={isWrong ? "token-problem" : undefined}
        onChange={(event) => setToken(event.target.value)}
      />
      {isWrong && (
        <p id="token-problem" className="field-problem" role="alert">
          {t("login.wrong")}
        </p>
      )}
      {!isWrong && <ErrorNote error={enter.error} />}
      <button type="submit" className="button button-primary" disabled={enter.isPending}>
        {t("login.enter")}
      </button>
    </form>
  );
}
