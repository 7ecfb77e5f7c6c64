import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { Kernel } from "../src/kernel";
import type { Picture } from "../src/picture";
import { Server, site } from "../src/server";

const SITE = { url: "http://127.0.0.1/lab/mlops/api/", headers: {} };
const KERNELS = { endpoint: "kernel's" } as Picture;
const SERVERS = { endpoint: "server's" } as Picture;

class FakeKernel {
  told: [boolean, boolean][] = [];
  acted: string[] = [];
  interval = 0.01;
  can = ["rollback"];
  served = { workspace: "/project/.mlops", arguments: { endpoint: "e", last: 60 } };
  read = () => ({ picture: KERNELS, trouble: null, fixed: false, age: 1, patience: 10, from: "kernel" as const });
  subscribe = () => () => undefined;
  watch = (watching: boolean, elsewhere = false) => this.told.push([watching, elsewhere]);
  act = async (verb: string) => {
    this.acted.push(verb);
    return { ok: true, message: "", hint: null };
  };
}

function follow(context: TestContext, answers: (() => Response)[]) {
  const kernel = new FakeKernel();
  const asked: { url: string; body: unknown }[] = [];
  const ask = async (url: string | URL | Request, options?: RequestInit) => {
    asked.push({ url: String(url), body: JSON.parse(String(options?.body)) });
    const next = answers.length > 1 ? answers.shift() : answers[0];
    if (!next) throw new TypeError("no connection");
    return next();
  };
  const server = new Server(kernel as unknown as Kernel, SITE, ask as typeof fetch);
  context.after(() => server.dispose());
  return { kernel, server, asked };
}

const picture = () => Response.json(SERVERS);
const soon = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(holds: () => boolean): Promise<void> {
  for (let waited = 0; !holds(); waited += 5) {
    assert.ok(waited < 10_000, `it never came to hold: ${holds}`);
    await soon(5);
  }
}

test("the kernel's picture is shown until the server has one, then the kernel is told to rest", async (context) => {
  const { kernel, server, asked } = follow(context, [picture]);
  assert.equal(server.read().picture, KERNELS);
  server.watch(true);
  await until(() => server.live && asked.length > 1); // it is asked again and again
  assert.deepEqual(server.read().picture, SERVERS);
  assert.equal(server.read().from, "server");
  assert.deepEqual(kernel.told.at(-1), [true, true]);
  assert.deepEqual(asked[0], {
    url: "http://127.0.0.1/lab/mlops/api/monitor",
    body: { workspace: "/project/.mlops", arguments: { endpoint: "e", last: 60 } },
  });
});

test("without a server of ours the kernel goes on, and gets the wishes", async (context) => {
  for (const answer of [() => new Response("", { status: 404 }), () => Response.json({ message: "no" }, { status: 403 })]) {
    const { kernel, server, asked } = follow(context, [answer]);
    server.watch(true);
    await soon(60);
    assert.equal(server.read().picture, KERNELS);
    assert.equal(asked.length, 1, "it is not asked in a storm");
    await server.act("rollback", { endpoint: "e" });
    assert.deepEqual(kernel.acted, ["rollback"]);
  }
});

test("a server that is lost gives back to the kernel", async (context) => {
  const lost = (): Response => {
    throw new TypeError("no connection");
  };
  const { kernel, server } = follow(context, [picture, lost]);
  server.watch(true);
  await until(() => server.live);
  await until(() => !server.live);
  assert.equal(server.read().picture, KERNELS);
  assert.deepEqual(kernel.told.at(-1), [true, false]);
});

test("what the server refuses to read is trouble, beside the last picture", async (context) => {
  const refusal = () => Response.json({ message: "the database is away", hint: "mlops doctor" }, { status: 503 });
  const { server } = follow(context, [picture, refusal]);
  server.watch(true);
  await until(() => server.read().trouble !== null);
  assert.deepEqual(server.read().picture, SERVERS);
  assert.equal(server.read().trouble?.message, "the database is away");
});

test("a wish goes to the server, and its refusal is shown", async (context) => {
  const refusal = () => Response.json({ message: "no earlier revision", hint: "mlops endpoints e" }, { status: 409 });
  const { kernel, server, asked } = follow(context, [picture, refusal]);
  server.watch(true);
  await until(() => server.live);
  const outcome = await server.act("rollback", { endpoint: "e" });
  assert.deepEqual(outcome, { ok: false, message: "no earlier revision", hint: "mlops endpoints e" });
  assert.deepEqual(kernel.acted, []);
  assert.ok(asked.some(({ url }) => url.endsWith("/rollback")));
});

test("nobody who looks, nobody who asks", async (context) => {
  const { server, asked } = follow(context, [picture]);
  server.watch(true);
  await until(() => server.live);
  server.watch(false);
  await soon(20);
  const before = asked.length;
  await soon(60);
  assert.equal(asked.length, before);
});

test("the page's own server is found by Jupyter's configuration, and no other origin gets the token", () => {
  const page = (config: unknown, cookie = "") =>
    ({
      getElementById: () => (config === null ? null : { textContent: JSON.stringify(config) }),
      location: { href: "http://localhost:8888/user/ada/lab", origin: "http://localhost:8888" },
      cookie,
    }) as unknown as Document;
  assert.equal(site(page(null)), null);
  assert.equal(site(page({})), null);
  assert.equal(site(page({ baseUrl: "https://elsewhere.example/", token: "secret" })), null);
  assert.deepEqual(site(page({ baseUrl: "/user/ada/", token: "secret" }, "a=1; _xsrf=2|x")), {
    url: "http://localhost:8888/user/ada/mlops/api/",
    headers: { "Content-Type": "application/json", "X-XSRFToken": "2|x", Authorization: "token secret" },
  });
});
