/**
 * A client of a Firstcome shop over openapi-fetch: calls that are repeated safely, tokens, waits and pages.
 *
 * Needs `fetch` and `crypto`, which browsers and Node 20 have. `firstcome.ts` is made by `make generate ONLY=clients`.
 */
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./firstcome.js";

type Schemas = components["schemas"];
type Open<T> = (body: T) => boolean;

/** An account's name and password, or an API key with the number of the account that it acts for, if it does. */
export type Credentials = { username: string; password: string } | { apiKey: string; account?: number };

/** How often a call is sent at most, and the seconds after which it is not sent again. */
export interface Retries {
  attempts: number;
  seconds: number;
}

/** The key of an intent, by default a new one, and how long to wait until it settles, by default 60 s. */
export interface Intent {
  key?: string;
  seconds?: number;
}

/** For one answer: more than the 30 s that `Prefer: wait` has at most. */
const ANSWER_SECONDS = 40;
const LONGEST_WAIT = 30;
const POLL_SECONDS = 0.5;
/** Calls without a key whose repeat has no second effect: the answer has the same coupon, order or entry. */
const SAME_WHEN_REPEATED = /\/api\/v1\/(auth\/token|coupons|orders\/[^/]+\/cancel|sales\/[^/]+\/entries)$/;
const PASSING_CONFLICTS = ["idempotency_key_in_flight", "lock_not_acquired", "conflict"];

/** The shop refused the call. Branch on `code`, which is empty when the answer is not the shop's. */
export class ProblemError extends Error {
  override name = "ProblemError";
  readonly code: string;

  constructor(
    readonly status: number,
    readonly body: Readonly<Record<string, unknown>>,
    readonly idempotencyKey: string | null,
  ) {
    super(`${status} ${body.code ?? ""}: ${body.detail ?? ""}`);
    this.code = String(body.code ?? "");
  }
}

/** No answer came: the effect is not known. Repeat a call that has an `idempotencyKey` with the same key. */
export class NoAnswerError extends Error {
  override name = "NoAnswerError";
  readonly idempotencyKey: string | null;

  constructor(request: Request, attempts: number, cause: unknown) {
    super(`no answer to ${request.method} ${request.url} in ${attempts} attempts`, { cause });
    this.idempotencyKey = request.headers.get("Idempotency-Key");
  }
}

/**
 * The wait ended while it was still open; `body` is its last state. It may settle at any time. The same call with the
 * `idempotencyKey`, if it has one, goes on waiting; a new key would be a new intent.
 */
export class NotSettledError extends Error {
  override name = "NotSettledError";

  constructor(
    readonly body: unknown,
    readonly idempotencyKey: string | null = null,
  ) {
    super("not settled yet");
  }
}

/** A random `Idempotency-Key`: one for each intent, and the same for its repeats. */
export const newKey = (): string => crypto.randomUUID();

/** The body of a success: everything else was thrown. */
export async function checked<T>(answer: Promise<{ data?: T }>): Promise<T> {
  const { data } = await answer;
  if (data === undefined) throw new TypeError("this is no answer of a Shop's `api`");
  return data;
}

/**
 * A shop's API at an address, as an account, by an API key, or without credentials.
 *
 * `api` has all calls: `checked(shop.api.GET("/api/v1/wallet"))`. Every call throws ProblemError when it is refused,
 * and NoAnswerError when no answer came.
 */
export class Shop {
  readonly api: Client<paths>;
  #tokens: Schemas["TokensBody"] | undefined;
  #renewing: Promise<void> | undefined;

  constructor(
    private readonly url: string,
    private readonly credentials?: Credentials,
    private readonly retries: Retries = { attempts: 5, seconds: 60 },
  ) {
    this.api = createClient<paths>({ baseUrl: url, fetch: (request) => this.#send(request) });
  }

  /** Place the order, and wait until its payment settles or needs its customer (`payment.next_action`). */
  placeOrder(body: Schemas["PlaceOrderInput"], intent: Intent = {}): Promise<Schemas["OrderBody"]> {
    const key = intent.key ?? newKey();
    return this.#wait(
      (Prefer) =>
        this.api.POST("/api/v1/orders", { params: { header: { "Idempotency-Key": key, Prefer } }, body }),
      (order) => order.status === "paying" && order.payment?.status !== "requires_action",
      intent.seconds,
      key,
    );
  }

  /** Buy points by card, and wait until the charge settles. */
  topUp(body: Schemas["TopUpInput"], intent: Intent = {}): Promise<Schemas["PaymentBody"]> {
    const key = intent.key ?? newKey();
    return this.#wait(
      (Prefer) =>
        this.api.POST("/api/v1/wallet/top-ups", {
          params: { header: { "Idempotency-Key": key, Prefer } },
          body,
        }),
      (payment) => payment.status === "pending" || payment.status === "in_doubt",
      intent.seconds,
      key,
    );
  }

  /** The account's coupon of the campaign, which it may have had before; waits in the campaign's queue. */
  async claimCoupon(campaign: number, seconds = 60): Promise<Schemas["CouponBody"]> {
    const giveUpAt = Date.now() + seconds * 1000;
    for (;;) {
      const answer = await checked(this.api.POST("/api/v1/coupons", { body: { campaign } }));
      if ("code" in answer) return answer;
      const path = { ticket_id: answer.id };
      await this.#wait(
        (Prefer) => this.api.GET("/api/v1/queue-tickets/{ticket_id}", { params: { path, header: { Prefer } } }),
        (ticket) => ticket.status === "waiting",
        (giveUpAt - Date.now()) / 1000,
      );
    }
  }

  /** The order once no payment or refund is under way. */
  waitForOrder(order_id: string, seconds = 60): Promise<Schemas["OrderBody"]> {
    return this.#wait(
      () => this.api.GET("/api/v1/orders/{order_id}", { params: { path: { order_id } } }),
      (order) => order.status === "paying" || order.status === "refunding",
      seconds,
    );
  }

  /** The account's entry of the sale's waiting room, once it waits no longer. */
  async joinSale(sale_id: number, seconds = 60): Promise<Schemas["SaleEntryBody"]> {
    const joined = await checked(
      this.api.POST("/api/v1/sales/{sale_id}/entries", { params: { path: { sale_id } }, body: {} }),
    );
    if (joined.status !== "waiting") return joined;
    const path = { entry_id: joined.id };
    return this.#wait(
      (Prefer) => this.api.GET("/api/v1/sale-entries/{entry_id}", { params: { path, header: { Prefer } } }),
      (entry) => entry.status === "waiting",
      seconds,
    );
  }

  /** The rows of a list, page by page: `shop.each(shop.api.GET("/api/v1/orders"))`. */
  async *each<T>(first: Promise<{ data?: { results: T[]; next: string | null } }>): AsyncGenerator<T> {
    let page = await checked(first);
    for (;;) {
      yield* page.results;
      if (page.next === null) return;
      // The credentials go to this shop, whatever host a page names.
      const next = page.next.slice(page.next.indexOf("/api/v1/"));
      const answer = await this.#send(new Request(this.url.replace(/\/$/, "") + next));
      page = (await answer.json()) as { results: T[]; next: string | null };
    }
  }

  async #wait<T>(
    read: (prefer: string) => Promise<{ data?: T; response: Response }>,
    isOpen: Open<NoInfer<T>>,
    seconds = 60,
    key: string | null = null,
  ): Promise<T> {
    const giveUpAt = Date.now() + seconds * 1000;
    const left = () => Math.max(0, (giveUpAt - Date.now()) / 1000);
    for (;;) {
      // Half of what a call may take, so that an answer that was lost can be asked for again.
      const wait = Math.floor(Math.min(left(), LONGEST_WAIT, this.retries.seconds / 2));
      const reading = read(`wait=${wait}`);
      const body = await checked(reading);
      if (!isOpen(body)) return body;
      if (left() === 0) throw new NotSettledError(body, key);
      await sleep(Math.min(left(), retryAfter((await reading).response) ?? POLL_SECONDS));
    }
  }

  async #send(request: Request): Promise<Response> {
    if (!this.credentials) return this.#sendChecked(request);
    if ("apiKey" in this.credentials) {
      const { apiKey, account } = this.credentials;
      if (account !== undefined) request.headers.set("Firstcome-Account", String(account));
      return this.#sendChecked(signed(request, apiKey));
    }
    if (!this.#tokens) await this.#renew(undefined);
    const access = this.#tokens!.access;
    try {
      return await this.#sendChecked(signed(request, access));
    } catch (error) {
      if (!(error instanceof ProblemError && error.status === 401)) throw error;
    }
    // A call that was refused for its token did nothing, so that any call may be sent again.
    await this.#renew(access);
    return this.#sendChecked(signed(request, this.#tokens!.access));
  }

  /** Takes new tokens in the place of a refused one, once for all calls that meet it. */
  async #renew(refused: string | undefined): Promise<void> {
    if (this.#tokens?.access !== refused) return;
    this.#renewing ??= this.#newTokens().finally(() => (this.#renewing = undefined));
    await this.#renewing;
  }

  async #newTokens(): Promise<void> {
    if (this.#tokens) {
      try {
        this.#tokens = await this.#post("/api/v1/auth/refresh", { refresh: this.#tokens.refresh });
        return;
      } catch (error) {
        if (!(error instanceof ProblemError || error instanceof NoAnswerError)) throw error;
      }
    }
    const { username, password } = this.credentials as { username: string; password: string };
    this.#tokens = await this.#post("/api/v1/auth/token", { username, password });
  }

  async #post(path: string, body: Record<string, string>): Promise<Schemas["TokensBody"]> {
    const headers = { "Content-Type": "application/json" };
    const url = this.url.replace(/\/$/, "") + path;
    const answer = await this.#sendChecked(
      new Request(url, { method: "POST", headers, body: JSON.stringify(body) }),
    );
    return (await answer.json()) as Schemas["TokensBody"];
  }

  async #sendChecked(request: Request): Promise<Response> {
    const response = await this.#sendRepeatedly(request);
    if (response.status < 400) return response;
    throw new ProblemError(response.status, await problem(response), request.headers.get("Idempotency-Key"));
  }

  async #sendRepeatedly(request: Request): Promise<Response> {
    const giveUpAt = Date.now() + this.retries.seconds * 1000;
    for (let attempt = 1; ; attempt++) {
      let response: Response | undefined;
      let failure: unknown;
      try {
        const seconds = Math.min(ANSWER_SECONDS, (giveUpAt - Date.now()) / 1000);
        response = await whole(request, seconds);
      } catch (error) {
        failure = error;
      }
      const pause = mayBeRepeated(request) ? await pauseBefore(response, attempt) : undefined;
      const inTime = pause !== undefined && Date.now() + pause * 1000 < giveUpAt;
      if (inTime && attempt < this.retries.attempts) await sleep(pause);
      else if (response) return response;
      else throw new NoAnswerError(request, attempt, failure);
    }
  }
}

/** The answer with its whole body: a connection may be lost within it. */
async function whole(request: Request, seconds: number): Promise<Response> {
  const signal = AbortSignal.timeout(Math.max(1, Math.ceil(seconds * 1000)));
  const answer = await fetch(request.clone(), { signal });
  const body = await answer.arrayBuffer();
  const { status, statusText, headers } = answer;
  return new Response(body.byteLength ? body : null, { status, statusText, headers });
}

function signed(request: Request, secret: string): Request {
  request.headers.set("Authorization", `Bearer ${secret}`);
  return request;
}

function mayBeRepeated(request: Request): boolean {
  if (request.method === "GET" || request.method === "HEAD") return true;
  if (request.headers.has("Idempotency-Key")) return true;
  return request.method === "POST" && SAME_WHEN_REPEATED.test(new URL(request.url).pathname);
}

/** The seconds until the call is sent again; undefined for an answer that stays as it is. */
async function pauseBefore(response: Response | undefined, attempt: number): Promise<number | undefined> {
  // Random parts spread the clients that were refused together.
  const backoff = (0.5 + Math.random() / 2) * Math.min(8, 0.25 * 2 ** attempt);
  if (!response) return backoff;
  const { code } = await problem(response);
  if ((response.status === 502 || response.status === 504) && code === undefined) return backoff;
  const passes =
    response.status === 409
      ? PASSING_CONFLICTS.includes(String(code))
      : response.status === 429 || response.status === 503;
  if (!passes) return undefined;
  const seconds = retryAfter(response);
  return seconds === undefined ? backoff : seconds + Math.random() / 4;
}

async function problem(response: Response): Promise<Record<string, unknown>> {
  if (!response.headers.get("Content-Type")?.startsWith("application/problem+json")) return {};
  return (await response.clone().json()) as Record<string, unknown>;
}

function retryAfter(response: Response): number | undefined {
  const text = response.headers.get("Retry-After") ?? "";
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

const sleep = (seconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, seconds * 1000));
