// How often the page asks: pauses, backoff, and rest while the page is not seen.

const LONGEST_BACKOFF_SECONDS = 10;

// Resolves after so many seconds, or once the signal is aborted.
export function pause(seconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, seconds * 1000);
    if (signal?.aborted) end();
    else signal?.addEventListener("abort", end);
  });
}

// 1, 2, 4 … seconds with jitter, so that pages which failed together don't return together.
export const backoff = (attempt) =>
  Math.min(LONGEST_BACKOFF_SECONDS, 2 ** attempt) * (0.75 + Math.random() / 2);

// Resolves once the page is seen.
export function seen() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
  });
}
