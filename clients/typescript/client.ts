/**
 * A client of a Firstcome shop over openapi-fetch: calls that are repeated safely, waits, pages, events and webhooks.
 *
 * Needs `fetch` and `crypto`, which browsers, workers and Node 20 have. `firstcome.ts` is made by
 * `make generate ONLY=clients`.
 */
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./firstcome.js";

type Schemas = components["schemas"];
type Open<T> = (body: T) => boolean;

/** What the document says of the API: `Schemas["OrderBody"]`. */
export type { Schemas, paths };

/** Is given each new pair of tokens, so that a page can keep them over a reload. */
type OnChange = (tokens: { access: string; refresh: string }) => void;

/** An account's name and password. A code of its authenticator app, where it has one, is good for one sign-in. */
export interface Password {
  username: string;
  password: string;
  oneTimeCode?: string;
  onChange?: OnChange;
}

/** The tokens of a sign-in. A refresh token is good for one use: keep those that `onChange` is given. */
export interface Tokens {
  access: string;
  refresh: string;
  onChange?: OnChange;
}

/** The secret of an API key, and the number of the account that it acts for, if it does. */
export interface ApiKey {
  apiKey: string;
  account?: number;
}

/** Returns an access token that is good, such as one of the shop's identity provider. */
export type FreshToken = () => string | Promise<string>;

export type Credentials = Password | Tokens | ApiKey | FreshToken;

/** Keeps the keys of intents by their names: `localStorage` and `sessionStorage` are such. */
export type KeyStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** How often a call is sent at most, and the seconds after which it is not sent again. */
export interface Retries {
  attempts: number;
  seconds: number;
}

export interface Options {
  credentials?: Credentials;
  /** By default keys are kept as long as the object. */
  storage?: KeyStorage;
  /** By default 5 attempts within 60 s. */
  retries?: Retries;
}

/**
 * The name of an intent, whose key is kept in the storage until it is known how it ended, or a key of your own; by
 * default the call is a new intent. And how long to wait until it settles, by default 60 s.
 */
export interface Intent {
  intent?: string;
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
/** Statuses of a refusal that ends an intent. Others may hide the answer to an earlier call with its key. */
const DID_NOTHING_OR_IS_RECORDED = [400, 402, 404, 409];
const PAGE = 200;
const TOLERANCE_SECONDS = 300;

/**
 * The shop refused the call. Branch on `code`, which is empty when the answer is not the shop's; expect codes that you
 * don't know. `body` has all members of the problem.
 */
export class ProblemError extends Error {
  override name = "ProblemError";
  readonly code: string;
  readonly detail: string;
  /** Names the call in the shop's log. */
  readonly requestId: string;
  /** What is wrong with which field, of a problem with the code `invalid`. */
  readonly errors: readonly Schemas["FieldError"][];
  /** Why the payment failed, of a problem with the code `payment_declined`. */
  readonly failure: Schemas["FailureBody"] | undefined;
  /** The order that the refused payment is of, if the problem names one. */
  readonly order: string | undefined;

  constructor(
    readonly status: number,
    readonly body: Readonly<Record<string, unknown>>,
    readonly idempotencyKey: string | null,
    /** In seconds, undefined without the header. */
    readonly retryAfter?: number,
  ) {
    super(`${status} ${body.code ?? ""}: ${body.detail ?? ""}`);
    this.code = String(body.code ?? "");
    this.detail = String(body.detail ?? "");
    this.requestId = String(body.request_id ?? "");
    this.errors = (body.errors ?? []) as Schemas["FieldError"][];
    this.failure = (body.failure ?? undefined) as Schemas["FailureBody"] | undefined;
    this.order = (body.order ?? undefined) as string | undefined;
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
 * The wait ended while it was still open; `body` is its last state. It may settle at any time. The same call with its
 * intent or the `idempotencyKey`, if it has one, goes on waiting; a new key would be a new intent.
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

/** The request is not the shop's, or too old: answer it with a status of 400. */
export class WebhookError extends Error {
  override name = "WebhookError";
}

/**
 * The event of a request to a webhook endpoint, by Standard Webhooks: of its headers, its body before it is parsed, and
 * the endpoint's secret. Throws WebhookError.
 *
 * In the day after a rotation a request has a signature of each secret; one that is right is enough.
 */
export async function verifyWebhook(
  headers: Headers | Record<string, string | string[] | undefined>,
  body: string | Uint8Array,
  secret: string,
): Promise<Schemas["FeedEventBody"]> {
  const given = headers instanceof Headers ? headers : new Headers(Object.entries(headers).map(joined));
  const [id, timestamp, signatures] = ["id", "timestamp", "signature"].map((name) => given.get(`webhook-${name}`));
  if (!id || !timestamp || !signatures) throw new WebhookError("a header of the signature is missing");
  // NaN is not within the tolerance.
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= TOLERANCE_SECONDS)) {
    throw new WebhookError("the request is too old, or from the future");
  }
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const signed = new Uint8Array([...new TextEncoder().encode(`${id}.${timestamp}.`), ...bytes]);
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const raw = fromBase64(secret.replace(/^whsec_/, ""));
  const key = await crypto.subtle.importKey("raw", raw, algorithm, false, ["verify"]);
  for (const one of signatures.split(" ")) {
    if (!/^v1,[A-Za-z0-9+/]+=*$/.test(one)) continue;
    // Compares in constant time.
    if (await crypto.subtle.verify("HMAC", key, fromBase64(one.slice(3)), signed)) {
      return JSON.parse(new TextDecoder().decode(bytes)) as Schemas["FeedEventBody"];
    }
  }
  throw new WebhookError("the signature is wrong");
}

/**
 * A shop's API at an address, as an account, by an API key, or without credentials.
 *
 * `api` has all calls: `checked(shop.api.GET("/api/v1/wallet"))`. Every call throws ProblemError when it is refused,
 * and NoAnswerError when no answer came.
 */
export class Shop {
  readonly api: Client<paths>;
  readonly #url: string;
  readonly #credentials: Credentials | undefined;
  readonly #retries: Retries;
  readonly #storage: KeyStorage;
  #access: string | undefined;
  #refresh: string | undefined;
  #maySignIn = false;
  #renewing: Promise<void> | undefined;

  constructor(url: string, { credentials, storage, retries }: Options = {}) {
    this.#url = url.replace(/\/$/, "");
    this.#credentials = credentials;
    this.#retries = retries ?? { attempts: 5, seconds: 60 };
    this.#storage = storage ?? inMemory();
    if (credentials && "access" in credentials) {
      this.#access = credentials.access || undefined;
      this.#refresh = credentials.refresh;
    }
    this.#maySignIn = credentials !== undefined && "password" in credentials;
    this.api = createClient<paths>({ baseUrl: this.#url, fetch: (request) => this.#send(request) });
  }

  /** All campaigns that the caller sees. */
  campaigns(): AsyncGenerator<Schemas["CampaignBody"]> {
    return this.each(this.api.GET("/api/v1/campaigns", { params: { query: { limit: PAGE } } }));
  }

  /** The products: all of them, the one with the SKU, or those that the words are found in. */
  products(query: { sku?: string; search?: string } = {}): AsyncGenerator<Schemas["ProductBody"]> {
    return this.each(this.api.GET("/api/v1/products", { params: { query: { limit: PAGE, ...query } } }));
  }

  /** The coupons that the caller sees. */
  coupons(
    query: { campaign?: number; status?: Schemas["CouponBody"]["status"] } = {},
  ): AsyncGenerator<Schemas["CouponBody"]> {
    return this.each(this.api.GET("/api/v1/coupons", { params: { query: { limit: PAGE, ...query } } }));
  }

  /** The orders that the caller sees, newest first. */
  orders(
    query: { status?: Schemas["OrderBody"]["status"]; number?: string } = {},
  ): AsyncGenerator<Schemas["OrderBody"]> {
    return this.each(this.api.GET("/api/v1/orders", { params: { query: { limit: PAGE, ...query } } }));
  }

  /** The order as it stands. */
  order(order_id: string): Promise<Schemas["OrderBody"]> {
    return checked(this.api.GET("/api/v1/orders/{order_id}", { params: { path: { order_id } } }));
  }

  /** What happened to the order, oldest first. */
  async timeline(order_id: string): Promise<Schemas["EventBody"][]> {
    const path = { order_id };
    return (await checked(this.api.GET("/api/v1/orders/{order_id}/timeline", { params: { path } }))).results;
  }

  /** The account's points. */
  wallet(): Promise<Schemas["WalletBody"]> {
    return checked(this.api.GET("/api/v1/wallet"));
  }

  /**
   * Place the order, and wait until its payment settles or needs its customer (`payment.next_action`).
   *
   * The same call with its `intent`, of this page or a later one, or with its `key` continues with the same order;
   * without either it is a new one. The intent ends when the order is settled or refused.
   */
  placeOrder(body: Schemas["PlaceOrderInput"], options: Intent = {}): Promise<Schemas["OrderBody"]> {
    return this.#keyed(
      (header) => this.api.POST("/api/v1/orders", { params: { header }, body }),
      (order) => isOpen(order) && !orderNeedsCustomer(order),
      orderNeedsCustomer,
      options,
    );
  }

  /** Pay an order that awaits payment; intents, keys and waits are those of `placeOrder`. */
  pay(body: Schemas["PayInput"], options: Intent = {}): Promise<Schemas["PaymentBody"]> {
    return this.#keyed(
      (header) => this.api.POST("/api/v1/payments", { params: { header }, body }),
      paymentIsOpen,
      needsCustomer,
      options,
    );
  }

  /** Buy points by card; intents, keys and waits are those of `placeOrder`. */
  topUp(body: Schemas["TopUpInput"], options: Intent = {}): Promise<Schemas["PaymentBody"]> {
    return this.#keyed(
      (header) => this.api.POST("/api/v1/wallet/top-ups", { params: { header }, body }),
      paymentIsOpen,
      needsCustomer,
      options,
    );
  }

  /** Cancel an order that awaits payment. */
  cancel(order_id: string): Promise<Schemas["OrderBody"]> {
    const path = { order_id };
    return checked(this.api.POST("/api/v1/orders/{order_id}/cancel", { params: { path }, body: {} }));
  }

  /**
   * Begin to refund lines of a paid order, or all that is left of it; takes the rights of staff. `waitForOrder` waits
   * until it is done.
   */
  refund(
    order_id: string,
    body: Schemas["RefundInput"],
    options: Omit<Intent, "seconds"> = {},
  ): Promise<Schemas["RefundBody"]> {
    const path = { order_id };
    return this.#keyed(
      (header) => this.api.POST("/api/v1/orders/{order_id}/refunds", { params: { header, path }, body }),
      () => false,
      () => false,
      options,
    );
  }

  /** The account's coupon of the campaign, which it may have had before; waits in the campaign's queue. */
  async claimCoupon(campaign: number, seconds = 60): Promise<Schemas["CouponBody"]> {
    const giveUpAt = Date.now() + seconds * 1000;
    for (;;) {
      const answer = await checked(this.api.POST("/api/v1/coupons", { body: { campaign } }));
      if ("code" in answer) return answer;
      await this.waitForTicket(answer.id, (giveUpAt - Date.now()) / 1000);
    }
  }

  /** The account's entry of the sale's waiting room, once it is admitted, or the sale is over. */
  async joinSale(sale_id: number, seconds = 60): Promise<Schemas["SaleEntryBody"]> {
    const joined = await checked(
      this.api.POST("/api/v1/sales/{sale_id}/entries", { params: { path: { sale_id } }, body: {} }),
    );
    return joined.status === "waiting" ? this.waitForEntry(joined.id, seconds) : joined;
  }

  /** The order once no payment or refund is under way. */
  waitForOrder(order_id: string, seconds = 60): Promise<Schemas["OrderBody"]> {
    return this.#wait(
      () => this.api.GET("/api/v1/orders/{order_id}", { params: { path: { order_id } } }),
      isOpen,
      seconds,
    );
  }

  /** The payment once it is settled, or failed because its customer did not act. */
  waitForPayment(payment_id: string, seconds = 60): Promise<Schemas["PaymentBody"]> {
    return this.#wait(
      () => this.api.GET("/api/v1/payments/{payment_id}", { params: { path: { payment_id } } }),
      (payment) => paymentIsOpen(payment) || needsCustomer(payment),
      seconds,
    );
  }

  /** The queue ticket once it waits no longer. */
  waitForTicket(ticket_id: string, seconds = 60): Promise<Schemas["TicketBody"]> {
    const path = { ticket_id };
    return this.#wait(
      (Prefer) => this.api.GET("/api/v1/queue-tickets/{ticket_id}", { params: { path, header: { Prefer } } }),
      (ticket) => ticket.status === "waiting",
      seconds,
    );
  }

  /** The waiting room's entry once it waits no longer. */
  waitForEntry(entry_id: string, seconds = 60): Promise<Schemas["SaleEntryBody"]> {
    const path = { entry_id };
    return this.#wait(
      (Prefer) => this.api.GET("/api/v1/sale-entries/{entry_id}", { params: { path, header: { Prefer } } }),
      (entry) => entry.status === "waiting",
      seconds,
    );
  }

  /** The rows of a list, page by page: `shop.each(shop.api.GET("/api/v1/sales"))`. */
  async *each<T>(first: Promise<{ data?: { results: T[]; next: string | null } }>): AsyncGenerator<T> {
    let page = await checked(first);
    for (;;) {
      yield* page.results;
      if (page.next === null) return;
      // The credentials go to this shop, whatever host a page names.
      const next = page.next.slice(page.next.indexOf("/api/v1/"));
      const answer = await this.#send(new Request(this.#url + next));
      page = (await answer.json()) as { results: T[]; next: string | null };
    }
  }

  /**
   * Pages of events, without end, from the cursor `after` on, or from the oldest event that is kept. `kind` is a type,
   * or `order.*` for all that begin so.
   *
   * Save `next` of each page after its work, and begin with it the next time. Throws ProblemError with the code
   * `cursor_expired` when events after the cursor were deleted, or when the shop was restored from a backup since then.
   */
  async *followEvents(from: { after?: string; kind?: string } = {}): AsyncGenerator<Schemas["FeedPageBody"]> {
    let { after } = from;
    for (;;) {
      const askedAt = Date.now();
      const query = { limit: PAGE, ...(after && { after }), ...(from.kind && { type: from.kind }) };
      const header = { Prefer: `wait=${this.#longestWait()}` };
      const page = await checked(this.api.GET("/api/v1/events", { params: { query, header } }));
      yield page;
      // A shop that stops, or waits for too many clients, answers an empty page at once.
      if (page.next === after && Date.now() - askedAt < 1000) await sleep(1);
      after = page.next;
    }
  }

  /** Waits for a call by its key. The intent goes on while it isn't known how the call ends. */
  async #keyed<T>(
    call: (header: { "Idempotency-Key": string; Prefer: string }) => Promise<{ data?: T; response: Response }>,
    isOpen: Open<NoInfer<T>>,
    needsCustomer: Open<NoInfer<T>>,
    { intent, key: given, seconds }: Intent,
  ): Promise<T> {
    if (intent !== undefined && given !== undefined) throw new TypeError("a call has an intent or a key, not both");
    const key = given ?? (intent && this.#storage.getItem(intent)) ?? newKey();
    if (intent !== undefined) this.#storage.setItem(intent, key);
    try {
      const body = await this.#wait<T>((Prefer) => call({ "Idempotency-Key": key, Prefer }), isOpen, seconds, key);
      if (intent !== undefined && !needsCustomer(body)) this.#storage.removeItem(intent);
      return body;
    } catch (error) {
      if (intent !== undefined && error instanceof ProblemError && endsIntent(error)) this.#storage.removeItem(intent);
      throw error;
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
      const reading = read(`wait=${Math.floor(Math.min(left(), this.#longestWait()))}`);
      const body = await checked(reading);
      if (!isOpen(body)) return body;
      if (left() === 0) throw new NotSettledError(body, key);
      await sleep(Math.min(left(), retryAfter((await reading).response) ?? POLL_SECONDS));
    }
  }

  #longestWait(): number {
    // Half of what a call may take, so that an answer that was lost can be asked for again.
    return Math.floor(Math.min(LONGEST_WAIT, this.#retries.seconds / 2));
  }

  async #send(request: Request): Promise<Response> {
    if (!this.#credentials) return this.#sendChecked(request);
    if ("apiKey" in this.#credentials) {
      const { apiKey, account } = this.#credentials;
      if (account !== undefined) request.headers.set("Firstcome-Account", String(account));
      return this.#sendChecked(signed(request, apiKey));
    }
    if (!this.#access) await this.#renew(undefined);
    const access = this.#access!;
    try {
      return await this.#sendChecked(signed(request, access));
    } catch (error) {
      if (!(error instanceof ProblemError && error.status === 401)) throw error;
    }
    // A call that was refused for its token did nothing, so that any call may be sent again.
    await this.#renew(access);
    return this.#sendChecked(signed(request, this.#access!));
  }

  /** Takes a new access token in the place of a refused one, once for all calls that meet it. */
  async #renew(refused: string | undefined): Promise<void> {
    if (this.#access !== refused) return;
    this.#renewing ??= this.#newAccess().finally(() => (this.#renewing = undefined));
    await this.#renewing;
  }

  async #newAccess(): Promise<void> {
    const credentials = this.#credentials as Password | Tokens | FreshToken;
    if (typeof credentials === "function") {
      this.#access = await credentials();
      return;
    }
    if (this.#refresh) {
      try {
        this.#keep(await this.#post("/api/v1/auth/refresh", { refresh: this.#refresh }), credentials);
        return;
      } catch (error) {
        if (!this.#maySignIn || !(error instanceof ProblemError || error instanceof NoAnswerError)) throw error;
      }
    }
    const { username, password, oneTimeCode } = credentials as Password;
    // The shop takes each code once.
    if (oneTimeCode !== undefined) this.#maySignIn = false;
    const body = { username, password, ...(oneTimeCode !== undefined && { otp: oneTimeCode }) };
    this.#keep(await this.#post("/api/v1/auth/token", body), credentials);
  }

  #keep(tokens: Schemas["TokensBody"], { onChange }: Password | Tokens): void {
    this.#access = tokens.access;
    this.#refresh = tokens.refresh;
    onChange?.({ access: tokens.access, refresh: tokens.refresh });
  }

  async #post(path: string, body: Record<string, string>): Promise<Schemas["TokensBody"]> {
    const headers = { "Content-Type": "application/json" };
    const answer = await this.#sendChecked(
      new Request(this.#url + path, { method: "POST", headers, body: JSON.stringify(body) }),
    );
    return (await answer.json()) as Schemas["TokensBody"];
  }

  async #sendChecked(request: Request): Promise<Response> {
    const response = await this.#sendRepeatedly(request);
    if (response.status < 400) return response;
    const key = request.headers.get("Idempotency-Key");
    throw new ProblemError(response.status, await problem(response), key, retryAfter(response));
  }

  async #sendRepeatedly(request: Request): Promise<Response> {
    const giveUpAt = Date.now() + this.#retries.seconds * 1000;
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
      if (inTime && attempt < this.#retries.attempts) await sleep(pause);
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
  if (!passes(response.status, String(code))) return undefined;
  const seconds = retryAfter(response);
  return seconds === undefined ? backoff : seconds + Math.random() / 4;
}

/** Whether the refusal passes by itself. */
const passes = (status: number, code: string): boolean =>
  status === 409 ? PASSING_CONFLICTS.includes(code) : status === 429 || status === 503;

const endsIntent = ({ status, code }: ProblemError): boolean =>
  DID_NOTHING_OR_IS_RECORDED.includes(status) && !passes(status, code);

const isOpen: Open<Schemas["OrderBody"]> = ({ status }) => status === "paying" || status === "refunding";
const paymentIsOpen: Open<Schemas["PaymentBody"]> = ({ status }) => status === "pending" || status === "in_doubt";
const needsCustomer = (payment: { status: string }): boolean => payment.status === "requires_action";
const orderNeedsCustomer: Open<Schemas["OrderBody"]> = ({ payment }) => !!payment && needsCustomer(payment);

function inMemory(): KeyStorage {
  const kept = new Map<string, string>();
  return {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, key) => void kept.set(name, key),
    removeItem: (name) => void kept.delete(name),
  };
}

function joined([name, value]: [string, string | string[] | undefined]): [string, string] {
  return [name, [value ?? ""].flat().join(" ")];
}

const fromBase64 = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

async function problem(response: Response): Promise<Record<string, unknown>> {
  if (!response.headers.get("Content-Type")?.startsWith("application/problem+json")) return {};
  try {
    return (await response.clone().json()) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function retryAfter(response: Response): number | undefined {
  const text = response.headers.get("Retry-After") ?? "";
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

const sleep = (seconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, seconds * 1000));
