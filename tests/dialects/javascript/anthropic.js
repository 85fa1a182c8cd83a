// The package "@anthropic-ai/sdk".

import Anthropic from "@anthropic-ai/sdk";

import { check, MODEL, URL } from "./suite.js";

const client = new Anthropic({ baseURL: URL, apiKey: "none" });
const source = (media_type, data) => ({ type: "base64", media_type, data: data.toString("base64") });

function written({ role, parts, calls, call, text }) {
  if (role === "tool") return { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: text }] };
  if (calls) return { role, content: calls.map(({ id, name, arguments: input }) => ({ type: "tool_use", id, name, input })) };
  const content = parts.map((part) => {
    if (part.image) return { type: "image", source: source("image/png", part.image) };
    if (part.pdf) return { type: "document", source: source("application/pdf", part.pdf) };
    return { type: "text", text: part };
  });
  return { role, content };
}

check({
  name: "messages",
  lacks: [],
  status: (error) => error.status,
  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    return names;
  },
  async ask(messages, { model = MODEL, schema, tools, tool, stop, limit = 1000 } = {}) {
    const message = await client.messages.create({
      model,
      max_tokens: limit,
      messages: messages.map(written),
      output_config: schema && { format: { type: "json_schema", schema } },
      tools: tools?.map(({ name, description, parameters }) => ({ name, description, input_schema: parameters })),
      tool_choice: tool && { type: "tool", name: tool },
      stop_sequences: stop && [stop],
    });
    const calls = message.content.filter(({ type }) => type === "tool_use").map(({ id, name, input }) => ({ id, name, arguments: input }));
    const text = message.content.map((block) => block.text ?? "").join("");
    return { text, calls, inputTokens: message.usage.input_tokens, cut: message.stop_reason === "max_tokens" };
  },
  async *stream(messages) {
    const stream = client.messages.stream({ model: MODEL, max_tokens: 1000, messages: messages.map(written) });
    for await (const event of stream) if (event.type === "content_block_delta") yield event.delta.text;
  },
});
