/** A link to a file of the server, which is saved; or to a page of it, which opens in another tab. */

import { useMutation } from "@tanstack/react-query";
import type { ReactNode } from "react";

import { BASE, download, session } from "../api/client";
import { ErrorNote } from "./notices";

interface FileLinkProps {
  /** From the server's root, without a slash at its beginning. */
  path: string;
  /** What the file is called when it is saved. */
  name: string;
  isPage?: boolean;
  className?: string;
  children: ReactNode;
}

/** With a token a plain link would lack it, so the file is fetched and saved. */
export function FileLink({ path, name, isPage = false, className = "link", children }: FileLinkProps) {
  const save = useMutation({ mutationFn: () => download(path, name) });
  if (session.token() === null) {
    return (
      <a className={className} href={`${BASE}${path}`} {...(isPage ? { target: "_blank", rel: "noreferrer" } : { download: name })}>
        {children}
      </a>
    );
  }
  return (
    <>
      <button type="button" className={className} disabled={save.isPending} onClick={() => save.mutate()}>
        {children}
      </button>
      {save.error !== null && <ErrorNote error={save.error} />}
    </>
  );
}
