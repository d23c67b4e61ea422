/** What went wrong with a request, as the server says it. Without anything of a page: a worker uses it too. */

import type { components } from "./schema";

export type Problem = components["schemas"]["ProblemShape"];

/** The fields of an `ApiError`, as they are sent between a worker and a page. */
export interface Failure {
  status: number;
  code: string;
  message: string;
  problems?: readonly Problem[];
}

/** `code` is `unreachable`, and the status 0, if there is no answer. */
export class ApiError extends Error implements Failure {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly problems: readonly Problem[] = [],
  ) {
    super(message);
    this.name = "ApiError";
  }

  static of({ status, code, message, problems = [] }: Failure): ApiError {
    return new ApiError(status, code, message, problems);
  }
}

/** The error that an answer of 400 or above describes. */
export async function refusal(response: Response): Promise<ApiError> {
  try {
    const body = (await response.clone().json()) as Partial<components["schemas"]["ErrorShape"]>;
    return new ApiError(response.status, body.code ?? "error", body.message ?? response.statusText, body.problems ?? []);
  } catch {
    return new ApiError(response.status, "error", response.statusText || String(response.status));
  }
}

/** The error for a request that got no answer. */
export function unreachable(cause: unknown): ApiError {
  return new ApiError(0, "unreachable", cause instanceof Error ? cause.message : String(cause));
}
