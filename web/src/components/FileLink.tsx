/** A link to a file of the server, which is saved under a name; or, without one, to a page, which opens in another tab. */

import type { ReactNode } from "react";

import { BASE } from "../api/client";

interface FileLinkProps {
  /** From the server's root, without a slash at its beginning. */
  path: string;
  name?: string;
  className?: string;
  children: ReactNode;
}

export function FileLink({ path, name, className = "link", children }: FileLinkProps) {
  return (
    <a className={className} href={`${BASE}${path}`} {...(name === undefined ? { target: "_blank", rel: "noreferrer" } : { download: name })}>
      {children}
    </a>
  );
}
