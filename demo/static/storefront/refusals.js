// Why the shop refused something, in a sentence: the page's own by the code of its answer, or the shop's.

import { codeOf } from "./api.js";
import { countdown } from "./format.js";
import { hasText, text } from "./options.js";

export function refusalText(answer) {
  const name = `refused.${codeOf(answer)}`;
  if (hasText(name)) return text(name, { time: countdown(answer.retryAfter) });
  return answer.body?.detail ?? text("refused.other", { status: answer.status });
}
