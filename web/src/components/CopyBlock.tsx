/** A block of text to copy: a config, a command, a program. */

import { useEffect, useState } from "react";

import { useText } from "../language/language";

const COPIED_SECONDS = 2;

export function CopyBlock({ text, label }: { text: string; label: string }) {
  const t = useText();
  const [isCopied, setIsCopied] = useState(false);
  useEffect(() => {
    if (!isCopied) return;
    const timer = setTimeout(() => setIsCopied(false), COPIED_SECONDS * 1000);
    return () => clearTimeout(timer);
  }, [isCopied]);
  const copy = (): void => {
    // Without a secure context, as on a plain address of the network, browsers have no clipboard.
    const clipboard = navigator.clipboard as Clipboard | undefined;
    void clipboard?.writeText(text).then(() => setIsCopied(true));
  };
  return (
    <div className="copy-block">
      <div className="copy-head">
        <span>{label}</span>
        <button type="button" className="button button-quiet" onClick={copy}>
          {t(isCopied ? "action.copied" : "action.copy")}
        </button>
      </div>
      <pre tabIndex={0}>
        <code>{text}</code>
      </pre>
    </div>
  );
}
