/** Starts the page: theme and language first, so that nothing changes its look after it has appeared. */

import "./styles.css";

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { ApiError, session } from "./api/client";
import { choose, currentLanguage } from "./language/language";
import { createAppRouter } from "./router";
import { apply } from "./shell/theme";

const TRIES = 2;

const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      // What the server has refused it refuses again; what did not reach it may reach it later.
      retry: (failures, error) =>
        failures < TRIES && error instanceof ApiError && (error.status === 0 || error.status >= 502),
      staleTime: 1_000,
    },
  },
});

apply();
choose(currentLanguage());
session.begin();

const root = document.getElementById("root");
if (root !== null) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <RouterProvider router={createAppRouter()} />
      </QueryClientProvider>
    </StrictMode>,
  );
}
