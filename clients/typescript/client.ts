/**
 * A client of a Firstcome shop over openapi-fetch: calls that are repeated safely, waits, pages, events and webhooks.
 *
 * Needs `fetch` and `crypto`, which browsers, workers and Node 20.3 have. `firstcome.ts` is made by
 * `make generate ONLY=clients`.
 */
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./firstcome.js";

type Schemas = components["schemas"];
type Open<T> = (body: T) => boolean;

/** What the document says of the API: `Schemas["OrderBody"]`. */
export type { Schemas, paths };

/** Is given each new pair of tokens, so that a page can keep them over a reload. */
type OnChange = (tokens: Pair) => void;

/**
 * Returns the tokens that `onChange` has kept for this account, where several tabs keep them in the same place. It is
 * called before tokens are renewed: one tab renews them, the others take what it has kept.
 */
type Current = () => Pair | null | undefined | Promise<Pair | null | undefined>;
type Pair = { access: string; refresh: string };

/** An account's name and password. A code of its authenticator app, where it has one, is good for one sign-in. */
export interface Password {
  username: string;
  password: string;
  oneTimeCode?: string;
  onChange?: OnChange;
  current?: Current;
}

/** The tokens of a sign-in. A refresh token is good for one use: keep those that `onChange` is given. */
export interface Tokens {
  access: string;
  refresh: string;
  onChange?: OnChange;
  current?: Current;
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
 * The name of an intent, whose key is kept in the storage until it is refused or `forget` is called, or a key of your
 * own; by default the call is a new intent. And how long to wait until it settles, by default 60 s.
 */
export interface Intent {
  intent?: string;
  key?: string;
  seconds?: number;
}

/** For one answer: more than the 30 s that `Prefer: wait` has at most. */
const ANSWER_SECONDS = 40;
const LONGEST_WAIT = 30;
/** The first pause between two answers that did not wait; each later one is longer, up to the longest. */
const POLL_SECONDS = 0.5;
const LONGEST_POLL_SECONDS = 5;
/** Calls without a key whose repeat has no second effect: the answer has the same coupon, order or entry. */
const SAME_WHEN_REPEATED = /\/api\/v1\/(auth\/token|coupons|orders\/[^/]+\/cancel|sales\/[^/]+\/entries)$/;
const PASSING_CONFLICTS = ["idempotency_key_in_flight", "lock_not_acquired", "conflict"];
/** Statuses of a refusal that ends an intent. Others may hide the answer to an earlier call with its key. */
const DID_NOTHING_OR_IS_RECORDED = [400, 402, 404, 409];
/** The shop knows a key for a day: an hour is left for the call, its repeats, and clocks that differ. */
const OLDEST_SECONDS = 23 * 3600;
const PAGE = 200;
const TOLERANCE_SECONDS = 300;
/** In bytes: a secret that was cut would accept what others sign. */
const SHORTEST_KEY = 16;

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
 * The intent is so old that the shop may have forgotten its key: the call could have a second effect. Nothing was sent.
 *
 * What it was for may be done: look for it, such as in `shop.orders()`, and call `shop.forget(intent)` before you begin
 * anew.
 */
export class IntentTooOldError extends Error {
  override name = "IntentTooOldError";

  constructor(
    readonly intent: string,
    readonly idempotencyKey: string,
  ) {
    super(`the intent ${intent} is too old: its order may exist, so look, then forget the intent`);
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
 * the endpoint's secret. Throws WebhookError, and TypeError when the secret is none of an endpoint.
 *
 * In the day after a rotation a request has a signature of each secret; one that is right is enough.
 */
export async function verifyWebhook(
  headers: Headers | Record<string, string | string[] | undefined>,
  body: string | Uint8Array,
  secret: string,
): Promise<Schemas["FeedEventBody"]> {
  const raw = keyOf(secret);
  const [id, timestamp, signatures] = ["id", "timestamp", "signature"].map((name) => header(headers, `webhook-${name}`));
  if (!id || !timestamp || !signatures) throw new WebhookError("a header of the signature is missing");
  const isTimely = Math.abs(Date.now() / 1000 - Number(timestamp)) <= TOLERANCE_SECONDS;
  if (!/^[0-9]{1,12}$/.test(timestamp) || !isTimely) {
    throw new WebhookError("the request is too old, or from the future");
  }
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const first = new TextEncoder().encode(`${id}.${timestamp}.`);
  const signed = new Uint8Array(first.length + bytes.length);
  signed.set(first);
  signed.set(bytes, first.length);
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", raw, algorithm, false, ["verify"]);
  for (const one of signatures.split(" ")) {
    if (!/^v1,[A-Za-z0-9+/]{43}=$/.test(one)) continue;
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
   * without either it is a new one. The intent ends when the order is refused, or by `forget`: call it once you have
   * kept the result. Throws IntentTooOldError, with nothing sent, when the intent began 23 hours ago.
   */
  placeOrder(body: Schemas["PlaceOrderInput"], options: Intent = {}): Promise<Schemas["OrderBody"]> {
    return this.#keyed(
      (header) => this.api.POST("/api/v1/orders", { params: { header }, body }),
      (order) => isOpen(order) && !orderNeedsCustomer(order),
      options,
    );
  }

  /** Pay an order that awaits payment; intents, keys and waits are those of `placeOrder`. */
  pay(body: Schemas["PayInput"], options: Intent = {}): Promise<Schemas["PaymentBody"]> {
    return this.#keyed(
      (header) => this.api.POST("/api/v1/payments", { params: { header }, body }),
      paymentIsOpen,
      options,
    );
  }

  /** Buy points by card; intents, keys and waits are those of `placeOrder`. */
  topUp(body: Schemas["TopUpInput"], options: Intent = {}): Promise<Schemas["PaymentBody"]> {
    return this.#keyed(
      (header) => this.api.POST("/api/v1/wallet/top-ups", { params: { header }, body }),
      paymentIsOpen,
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
      options,
    );
  }

  /** End an intent: its result is kept elsewhere. The next call of its name is a new one. */
  forget(intent: string): void {
    this.#storage.removeItem(intent);
  }

  /**
   * The account's coupon of the campaign, which it may have had before; waits in the campaign's queue. Throws
   * NotSettledError after the seconds, and with a ticket that has the status `failed`: the account may ask again later.
   */
  async claimCoupon(campaign: number, seconds = 60): Promise<Schemas["CouponBody"]> {
    const giveUpAt = performance.now() + seconds * 1000;
    for (;;) {
      const answer = await checked(this.api.POST("/api/v1/coupons", { body: { campaign } }));
      if ("code" in answer) return answer;
      const ticket = await this.waitForTicket(answer.id, (giveUpAt - performance.now()) / 1000);
      if (ticket.status === "failed") throw new NotSettledError(ticket);
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
      const { pathname, search } = new URL(page.next, this.#url);
      const next = pathname.slice(Math.max(0, pathname.indexOf("/api/v1/"))) + search;
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
      const askedAt = performance.now();
      const query = { limit: PAGE, ...(after && { after }), ...(from.kind && { type: from.kind }) };
      const header = { Prefer: `wait=${this.#longestWait()}` };
      const page = await checked(this.api.GET("/api/v1/events", { params: { query, header } }));
      yield page;
      // A shop that stops, or waits for too many clients, answers an empty page at once.
      if (page.next === after && performance.now() - askedAt < 1000) await sleep(1);
      after = page.next;
    }
  }

  /** Waits for a call by its key. The intent goes on until it is refused or forgotten. */
  async #keyed<T>(
    call: (header: { "Idempotency-Key": string; Prefer: string }) => Promise<{ data?: T; response: Response }>,
    isOpen: Open<NoInfer<T>>,
    { intent, key: given, seconds }: Intent,
  ): Promise<T> {
    if (intent !== undefined && given !== undefined) throw new TypeError("a call has an intent or a key, not both");
    const key = intent === undefined ? given || newKey() : await this.#keyOf(intent);
    try {
      return await this.#wait<T>((Prefer) => call({ "Idempotency-Key": key, Prefer }), isOpen, seconds, key);
    } catch (error) {
      if (intent !== undefined && error instanceof ProblemError && endsIntent(error, key)) this.forget(intent);
      throw error;
    }
  }

  /** The key that is kept for the intent, or a new one, which begins with its time. Tabs take the same one. */
  #keyOf(intent: string): Promise<string> {
    return alone(`firstcome intent ${intent}`, async () => {
      const kept = this.#storage.getItem(intent);
      const now = Date.now() / 1000;
      if (kept === null) {
        const key = `${Math.floor(now)}.${newKey()}`;
        this.#storage.setItem(intent, key);
        return key;
      }
      const [, begunAt] = /^([0-9]+)\./.exec(kept) ?? [];
      if (Math.abs(now - Number(begunAt ?? 0)) > OLDEST_SECONDS) throw new IntentTooOldError(intent, kept);
      return kept;
    });
  }

  async #wait<T>(
    read: (prefer: string) => Promise<{ data?: T; response: Response }>,
    isOpen: Open<NoInfer<T>>,
    seconds = 60,
    key: string | null = null,
  ): Promise<T> {
    const giveUpAt = performance.now() + seconds * 1000;
    const left = () => Math.max(0, (giveUpAt - performance.now()) / 1000);
    for (let pause = POLL_SECONDS; ; pause = Math.min(LONGEST_POLL_SECONDS, pause * 1.5)) {
      const reading = read(`wait=${Math.floor(Math.min(left(), this.#longestWait()))}`);
      const body = await checked(reading);
      if (!isOpen(body)) return body;
      if (left() === 0) throw new NotSettledError(body, key);
      await sleep(Math.min(left(), retryAfter((await reading).response) || pause));
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
    // The tokens of another tab may be old as well.
    const renewals = "current" in this.#credentials ? 2 : 1;
    for (let renewed = 0; ; renewed++) {
      const access = this.#access!;
      try {
        return await this.#sendChecked(signed(request, access));
      } catch (error) {
        const isRefused = error instanceof ProblemError && error.status === 401;
        if (!isRefused || renewed === renewals || !this.#canRenew()) throw error;
      }
      // A call that was refused for its token did nothing, so that any call may be sent again.
      await this.#renew(access);
    }
  }

  /** Takes a new access token in the place of a refused one, once for all calls that meet it. */
  async #renew(refused: string | undefined): Promise<void> {
    if (this.#access !== refused) return;
    this.#renewing ??= this.#newAccess().finally(() => (this.#renewing = undefined));
    await this.#renewing;
  }

  #canRenew(): boolean {
    return !!this.#refresh || typeof this.#credentials === "function" || this.#maySignIn;
  }

  async #newAccess(): Promise<void> {
    const credentials = this.#credentials as Password | Tokens | FreshToken;
    if (typeof credentials === "function") {
      this.#access = await credentials();
      return;
    }
    const { current } = credentials;
    if (!current) return this.#signIn(credentials);
    await alone(`firstcome tokens ${this.#url}`, async () => {
      const kept = await current();
      if (!kept || kept.refresh === this.#refresh) return this.#signIn(credentials);
      // Those of another tab, which has renewed them.
      this.#access = kept.access;
      this.#refresh = kept.refresh;
    });
  }

  async #signIn(credentials: Password | Tokens): Promise<void> {
    if (this.#refresh) {
      try {
        this.#keep(await this.#post("/api/v1/auth/refresh", { refresh: this.#refresh }), credentials);
        return;
      } catch (error) {
        if (!this.#maySignIn || !(error instanceof ProblemError || error instanceof NoAnswerError)) throw error;
      }
    }
    if (!("password" in credentials)) throw new TypeError("the tokens have neither an access nor a refresh token");
    const { username, password, oneTimeCode } = credentials;
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
    // 304 is the answer to a caller's If-None-Match.
    if (response.ok || response.status === 304) return response;
    const key = request.headers.get("Idempotency-Key");
    throw new ProblemError(response.status, await problem(response), key, retryAfter(response));
  }

  async #sendRepeatedly(request: Request): Promise<Response> {
    const giveUpAt = performance.now() + this.#retries.seconds * 1000;
    for (let attempt = 1; ; attempt++) {
      let response: Response | undefined;
      let failure: unknown;
      try {
        const seconds = Math.min(ANSWER_SECONDS, (giveUpAt - performance.now()) / 1000);
        response = await whole(request, seconds);
      } catch (error) {
        failure = error;
      }
      const pause = mayBeRepeated(request) ? await pauseBefore(response, attempt) : undefined;
      const inTime = pause !== undefined && performance.now() + pause * 1000 < giveUpAt && !request.signal.aborted;
      if (inTime && attempt < this.#retries.attempts) await sleep(pause);
      else if (response) return response;
      else throw new NoAnswerError(request, attempt, failure);
    }
  }
}

/** The answer with its whole body: a connection may be lost within it. */
async function whole(request: Request, seconds: number): Promise<Response> {
  const signal = AbortSignal.any([request.signal, AbortSignal.timeout(Math.max(1, Math.ceil(seconds * 1000)))]);
  // A redirect would take what is secret to another address, or make a POST a GET.
  const answer = await fetch(request.clone(), { signal, redirect: "manual" });
  // A browser hides it. This one has the status 0 as well, which no other way makes.
  if (answer.type === "opaqueredirect") return Response.error();
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

/** Not the refusal of another call, such as a sign-in, nor the answer of a proxy. */
const endsIntent = ({ status, code, idempotencyKey }: ProblemError, key: string): boolean =>
  DID_NOTHING_OR_IS_RECORDED.includes(status) && !passes(status, code) && code !== "" && idempotencyKey === key;

const isOpen: Open<Schemas["OrderBody"]> = ({ status }) => status === "paying" || status === "refunding";
const paymentIsOpen: Open<Schemas["PaymentBody"]> = ({ status }) => status === "pending" || status === "in_doubt";
const needsCustomer = (payment: { status: string }): boolean => payment.status === "requires_action";
const orderNeedsCustomer: Open<Schemas["OrderBody"]> = ({ payment }) => !!payment && needsCustomer(payment);

/** Do it while no other tab does, where the browser has locks. */
function alone<T>(name: string, act: () => Promise<T>): Promise<T> {
  const locks = globalThis.navigator?.locks as LockManager | undefined;
  return locks ? (locks.request(name, act) as Promise<T>) : act();
}

function inMemory(): KeyStorage {
  const kept = new Map<string, string>();
  return {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, key) => void kept.set(name, key),
    removeItem: (name) => void kept.delete(name),
  };
}

/** One of the headers, by its name in small letters. */
function header(headers: Headers | Record<string, string | string[] | undefined>, name: string): string | null {
  if (headers instanceof Headers) return headers.get(name);
  const found = Object.keys(headers).find((one) => one.toLowerCase() === name);
  return found === undefined ? null : [headers[found] ?? ""].flat().join(" ");
}

function keyOf(secret: string): Uint8Array<ArrayBuffer> {
  const text = secret.replace(/^whsec_/, "");
  const key = /^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 === 0 ? fromBase64(text) : undefined;
  if (key === undefined || key.length < SHORTEST_KEY) throw new TypeError("this is no secret of an endpoint");
  return key;
}

const fromBase64 = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

async function problem(response: Response): Promise<Record<string, unknown>> {
  if (response.status < 400) return { detail: "a redirect, which is not followed" };
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
