// The package "ollama".

import { Ollama } from "ollama";

import { check, MODEL, URL } from "./suite.js";

const client = new Ollama({ host: URL });

function written({ role, parts, calls, call, text }) {
  if (role === "tool") return { role, tool_name: call.name, content: text };
  if (calls) return { role, content: "", tool_calls: calls.map(({ name, arguments: values }) => ({ function: { name, arguments: values } })) };
  const texts = parts.filter((part) => typeof part === "string");
  const images = parts.filter((part) => part.image).map((part) => part.image);
  return { role, content: texts.join("\n"), ...(images.length && { images }) };
}

check({
  name: "chat",
  lacks: ["a forced tool", "a PDF"],
  status: (error) => error.status_code,
  async models() {
    return (await client.list()).models.map(({ name }) => name.replace(/:latest$/, ""));
  },
  async ask(messages, { model = MODEL, schema, tools, stop, limit } = {}) {
    const answer = await client.chat({
      model,
      messages: messages.map(written),
      format: schema,
      tools: tools?.map((each) => ({ type: "function", function: each })),
      options: { ...(stop && { stop: [stop] }), ...(limit && { num_predict: limit }) },
    });
    const calls = answer.message.tool_calls?.map(({ function: called }) => called);
    return { text: answer.message.content, calls, inputTokens: answer.prompt_eval_count, cut: answer.done_reason === "length" };
  },
  async *stream(messages) {
    for await (const part of await client.chat({ model: MODEL, messages: messages.map(written), stream: true })) {
      if (part.message.content) yield part.message.content;
    }
  },
});
