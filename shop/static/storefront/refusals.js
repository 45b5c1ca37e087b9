// Why the shop refused something, in a sentence: by the code of its answer.

import { codeOf } from "./api.js";
import { countdown, number } from "./format.js";
import { hasText, text } from "./options.js";

export function refusalText(answer) {
  const code = codeOf(answer);
  const values = valuesOf(answer);
  for (const name of [`refused.${code}.${answer.body?.reason}`, `refused.${code}`]) {
    if (hasText(name)) return text(name, values);
  }
  return answer.body?.detail ?? text("refused.other", { status: answer.status });
}

function valuesOf({ body, retryAfter }) {
  const item = body?.items?.[0] ?? {};
  return {
    time: countdown(retryAfter),
    available: number(item.available ?? 0),
    limit: number(item.limit ?? body?.limit ?? 0),
  };
}
