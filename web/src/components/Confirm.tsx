/** Questions before something is done, and what can still be undone afterwards. */

import { useCallback, useEffect, useRef, useState, type ReactNode } from "react";

import { useText } from "../language/language";

export interface ConfirmProps {
  title: string;
  children: ReactNode;
  action: string;
  isDanger?: boolean;
  isBusy?: boolean;
  onConfirm: () => void;
  onCancel: () => void;
}

/** A modal question; Escape and a click beside it mean no. */
export function Confirm({ title, children, action, isDanger = false, isBusy = false, onConfirm, onCancel }: ConfirmProps) {
  const t = useText();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    <dialog
      ref={dialog}
      className="dialog"
      aria-labelledby="dialog-title"
      onCancel={(event) => {
        event.preventDefault();
        onCancel();
      }}
      onClick={(event) => {
        if (event.target === dialog.current) onCancel();
      }}
    >
      <div className="dialog-body">
        <h2 id="dialog-title">{title}</h2>
        {children}
        <div className="dialog-actions">
          <button type="button" className="button" onClick={onCancel}>
            {t("action.cancel")}
          </button>
          <button type="button" className={isDanger ? "button button-danger" : "button button-primary"} disabled={isBusy} onClick={onConfirm}>
            {action}
          </button>
        </div>
      </div>
    </dialog>
  );
}

const UNDO_SECONDS = 6;

interface Pending {
  message: string;
  run: () => void;
}

/**
 * Does something a few seconds later than it was asked for, so that it can be undone until then. Leaving the page does
 * it at once. `notice` is what to show meanwhile.
 */
export function useUndo(): { later: (message: string, run: () => void, undone: () => void) => void; notice: ReactNode } {
  const t = useText();
  const [pending, setPending] = useState<(Pending & { undone: () => void }) | null>(null);
  const current = useRef<Pending | null>(null);
  const finish = useCallback(() => {
    current.current?.run();
    current.current = null;
    setPending(null);
  }, []);
  useEffect(() => {
    if (pending === null) return;
    const timer = setTimeout(finish, UNDO_SECONDS * 1000);
    return () => clearTimeout(timer);
  }, [pending, finish]);
  useEffect(
    () => () => {
      current.current?.run();
      current.current = null;
    },
    [],
  );
  const later = useCallback((message: string, run: () => void, undone: () => void) => {
    current.current?.run();
    current.current = { message, run };
    setPending({ message, run, undone });
  }, []);
  const notice = pending !== null && (
    <div className="toast" role="status">
      <span>{pending.message}</span>
      <button
        type="button"
        className="button"
        onClick={() => {
          current.current = null;
          pending.undone();
          setPending(null);
        }}
      >
        {t("action.undo")}
      </button>
    </div>
  );
  return { later, notice };
}
