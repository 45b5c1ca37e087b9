// A real OpenID provider, oidc-provider, as a process on loopback: `node identity_provider.mjs PORT`.
//
// PUT /test/keys {"keys": [...]}   the private keys (RFC 7517) that it has from now on
// POST /test/token {"sub", "kid", "alg", "audience", "seconds", "claims"}   an access token, made and signed by the provider
// GET /test/asked   how often /jwks was asked for
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
let provider;
let answer;
let asked = 0;

function begin(keys) {
  provider = new Provider(issuer, {
    jwks: { keys },
    clients: [
      {
        client_id: "storefront",
        client_secret: "only-for-tests",
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
      },
    ],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: { enabled: true, getResourceServerInfo: () => ({}) },
    },
    enabledJWA: { idTokenSigningAlgValues: ["RS256", "ES256", "EdDSA"] },
    extraTokenClaims: (context, token) => token.extra,
  });
  answer = provider.callback();
}

async function token({ sub, kid, alg, audience, seconds, claims }) {
  const client = await provider.Client.find("storefront");
  const server = new provider.ResourceServer(audience, {
    audience,
    accessTokenFormat: "jwt",
    jwt: { sign: { alg, kid } },
  });
  const made = new provider.AccessToken({
    accountId: sub,
    client,
    gty: "authorization_code",
    expiresIn: seconds,
    extra: claims,
    resourceServer: server,
  });
  return made.save();
}

async function bodyOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString());
}

async function serve(request, response) {
  if (request.url === "/test/keys") {
    begin((await bodyOf(request)).keys);
    response.end();
  } else if (request.url === "/test/token") {
    response.end(await token(await bodyOf(request)));
  } else if (request.url === "/test/asked") {
    response.end(String(asked));
  } else {
    asked += request.url === "/jwks";
    answer(request, response);
  }
}

createServer((request, response) =>
  serve(request, response).catch((error) => {
    response.statusCode = 500;
    response.end(String(error.stack));
  }),
).listen(port, "127.0.0.1");
