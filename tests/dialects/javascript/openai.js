// The package "openai", with both of OpenAI's APIs.

import OpenAI from "openai";

import { check, MODEL, URL } from "./suite.js";

const client = new OpenAI({ baseURL: `${URL}/v1`, apiKey: "none" });
const dataUrl = (type, data) => `data:${type};base64,${data.toString("base64")}`;
const models = async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  return names;
};
const status = (error) => error.status;

function chatMessage({ role, parts, calls, call, text }) {
  if (role === "tool") return { role, tool_call_id: call.id, content: text };
  if (calls) {
    const written = calls.map(({ id, name, arguments: values }) => ({
      id,
      type: "function",
      function: { name, arguments: JSON.stringify(values) },
    }));
    return { role, tool_calls: written };
  }
  if (role === "assistant") return { role, content: parts.join("") };
  return {
    role,
    content: parts.map((part) => {
      if (part.image) return { type: "image_url", image_url: { url: dataUrl("image/png", part.image) } };
      if (part.pdf) return { type: "file", file: { filename: "page.pdf", file_data: dataUrl("application/pdf", part.pdf) } };
      return { type: "text", text: part };
    }),
  };
}

const format = (schema) => ({ name: "found", strict: true, schema });

check({
  name: "chat completions",
  lacks: [],
  models,
  status,
  async ask(messages, { model = MODEL, schema, tools, tool, stop, limit } = {}) {
    const completion = await client.chat.completions.create({
      model,
      messages: messages.map(chatMessage),
      response_format: schema && { type: "json_schema", json_schema: format(schema) },
      tools: tools?.map((each) => ({ type: "function", function: { ...each, strict: true } })),
      tool_choice: tool && { type: "function", function: { name: tool } },
      stop,
      max_completion_tokens: limit,
    });
    const { message, finish_reason } = completion.choices[0];
    const calls = message.tool_calls?.map(({ id, function: called }) => ({ id, name: called.name, arguments: JSON.parse(called.arguments) }));
    return { text: message.content, calls, inputTokens: completion.usage.prompt_tokens, cut: finish_reason === "length" };
  },
  async *stream(messages) {
    const stream = await client.chat.completions.create({ model: MODEL, messages: messages.map(chatMessage), stream: true });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) yield chunk.choices[0].delta.content;
  },
});

function responseItems({ role, parts, calls, call, text }) {
  if (role === "tool") return [{ type: "function_call_output", call_id: call.id, output: text }];
  if (calls) {
    return calls.map(({ id, name, arguments: values }) => ({ type: "function_call", call_id: id, name, arguments: JSON.stringify(values) }));
  }
  if (role === "assistant") return [{ role, content: parts.join("") }];
  const content = parts.map((part) => {
    if (part.image) return { type: "input_image", image_url: dataUrl("image/png", part.image), detail: "auto" };
    if (part.pdf) return { type: "input_file", filename: "page.pdf", file_data: dataUrl("application/pdf", part.pdf) };
    return { type: "input_text", text: part };
  });
  return [{ role, content }];
}

check({
  name: "responses",
  lacks: ["a stop text"],
  models,
  status,
  async ask(messages, { model = MODEL, schema, tools, tool, limit } = {}) {
    const response = await client.responses.create({
      model,
      input: messages.flatMap(responseItems),
      text: schema && { format: { type: "json_schema", ...format(schema) } },
      tools: tools?.map((each) => ({ type: "function", strict: true, ...each })),
      tool_choice: tool && { type: "function", name: tool },
      max_output_tokens: limit,
    });
    const calls = response.output
      .filter(({ type }) => type === "function_call")
      .map(({ call_id, name, arguments: values }) => ({ id: call_id, name, arguments: JSON.parse(values) }));
    const cut = response.incomplete_details?.reason === "max_output_tokens";
    return { text: response.output_text, calls, inputTokens: response.usage.input_tokens, cut };
  },
  async *stream(messages) {
    const stream = await client.responses.create({ model: MODEL, input: messages.flatMap(responseItems), stream: true });
    for await (const event of stream) if (event.type === "response.output_text.delta") yield event.delta;
  },
});
