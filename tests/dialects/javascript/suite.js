// What each client is asked, whatever it is called there. GATEWAY_URL names the gateway, GATEWAY_MODEL the model; images are in the current folder.
//
// A client is {name, lacks, ask, stream, models, status}:
//   lacks           names of tests of what it can't do
//   ask(messages, options)     returns {text, calls: [{id, name, arguments}], inputTokens, cut}. Options: model, schema, tools, tool, stop, limit
//   stream(messages)           an async iterable of texts
//   models()        the names of all models
//   status(error)   the HTTP status behind an error that it threw
// A message is {role: "user" | "assistant", parts: [text | {image} | {pdf}]}, {role: "assistant", calls} or {role: "tool", call, text}.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

export const URL = process.env.GATEWAY_URL;
export const MODEL = process.env.GATEWAY_MODEL;

export const SCHEMA = {
  type: "object",
  properties: { name: { type: "string" }, count: { type: "integer" } },
  required: ["name", "count"],
  additionalProperties: false,
};
export const WEATHER = {
  name: "get_weather",
  description: "Get the current weather in a city",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
};

const [red, green, blue] = ["red", "green", "blue"].map((colour) => ({ image: readFileSync(`${colour}.png`) }));
const pdf = { pdf: readFileSync("page.pdf") };
const user = (...parts) => ({ role: "user", parts });
const question = user("What is in this image?", red);

export function check(client) {
  const run = (name, body) => test(`${client.name}: ${name}`, { skip: client.lacks.includes(name) && "the client has nothing for it" }, body);

  run("models", async () => {
    assert.ok((await client.models()).includes(MODEL));
  });

  run("an image", async () => {
    const { text, inputTokens } = await client.ask([question]);
    assert.match(text, /There is an image: red/);
    assert.ok(inputTokens > 0);
  });

  run("several images in order", async () => {
    assert.match((await client.ask([user("First", blue, "then", red, "and last", green)])).text, /3 images: blue, red, green/);
  });

  run("a stream", async () => {
    const pieces = [];
    for await (const piece of client.stream([question])) pieces.push(piece);
    assert.match(pieces.join(""), /There is an image: red/);
    assert.ok(pieces.length > 1);
  });

  run("a stream that is left", async () => {
    for await (const piece of client.stream([question])) {
      assert.ok(piece);
      break;
    }
    assert.match((await client.ask([question])).text, /There is an image/);
  });

  run("several turns", async () => {
    const first = await client.ask([question]);
    const turns = [question, { role: "assistant", parts: [first.text] }, user("And this one?", green)];
    assert.match((await client.ask(turns)).text, /2 images: red, green/);
  });

  run("a schema", async () => {
    const { text } = await client.ask([user("Call it 'circle'; there are 7.", red)], { schema: SCHEMA });
    assert.deepEqual(JSON.parse(text), { name: "circle", count: 7 });
  });

  run("a tool and its result", async () => {
    const asked = user("Get the current weather in 'Paris'.");
    const { calls } = await client.ask([asked], { tools: [WEATHER] });
    assert.deepEqual(calls.map((call) => [call.name, call.arguments]), [["get_weather", { city: "Paris" }]]);
    const turns = [asked, { role: "assistant", calls }, { role: "tool", call: calls[0], text: "21 degrees" }];
    assert.match((await client.ask(turns, { tools: [WEATHER] })).text, /The tool says: 21 degrees/);
  });

  run("a forced tool", async () => {
    const { calls } = await client.ask([user("Where is 'Rome'?", red)], { tools: [WEATHER], tool: "get_weather" });
    assert.deepEqual(calls.map((call) => [call.name, call.arguments]), [["get_weather", { city: "Rome" }]]);
  });

  run("a PDF", async () => {
    assert.match((await client.ask([user("What is on this page?", pdf)])).text, /There is an image/);
  });

  run("a stop text", async () => {
    const { text } = await client.ask([user("Why is the sky blue?")], { stop: "Rayleigh" });
    assert.match(text, /sky is blue because of ?$/);
  });

  run("a limit", async () => {
    const { text, cut } = await client.ask([user("Why is the sky blue?")], { limit: 16 });
    assert.ok(cut);
    assert.ok(text.split(" ").length <= 17);
  });

  run("a model that does not exist", async () => {
    await assert.rejects(client.ask([question], { model: "nothing" }), (error) => client.status(error) === 404 && /nothing/.test(error.message));
  });

  run("an image that is none", async () => {
    const broken = user("What is this?", { image: Buffer.from("This is no image.") });
    await assert.rejects(client.ask([broken]), (error) => client.status(error) === 400 && /not in a supported image format/.test(error.message));
  });
}
