/** The frame of a table, which scrolls if the table is wider; then the keyboard can scroll it too. */

import { useEffect, useRef, useState, type ReactNode } from "react";

export interface TableFrameProps {
  /** What the table shows, for those who do not see it. */
  label: string;
  children: ReactNode;
  /** Higher tables scroll inside the frame. */
  isShort?: boolean;
  /** Whether what is shown is about to be replaced. */
  isStale?: boolean;
}

export function TableFrame({ label, children, isShort = false, isStale = false }: TableFrameProps) {
  const frame = useRef<HTMLDivElement>(null);
  const [doesScroll, setDoesScroll] = useState(false);
  useEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const measure = (): void =>
      setDoesScroll(element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight);
    const resized = new ResizeObserver(measure);
    resized.observe(element);
    for (const child of element.children) resized.observe(child);
    return () => resized.disconnect();
  }, []);
  return (
    <div
      ref={frame}
      className={isShort ? "table-frame table-short" : "table-frame"}
      data-stale={isStale}
      {...(doesScroll ? { role: "region", "aria-label": label, tabIndex: 0 } : {})}
    >
      {children}
    </div>
  );
}
