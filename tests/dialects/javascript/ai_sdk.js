// The AI SDK, with its providers of OpenAI's and Anthropic's APIs.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, Output, streamText, tool as defined } from "ai";

import { check, MODEL, URL } from "./suite.js";

const openai = createOpenAI({ baseURL: `${URL}/v1`, apiKey: "none" });
const compatible = createOpenAICompatible({ name: "gateway", baseURL: `${URL}/v1`, includeUsage: true, supportsStructuredOutputs: true });
const anthropic = createAnthropic({ baseURL: `${URL}/v1`, apiKey: "none" });

globalThis.AI_SDK_LOG_WARNINGS = false;

const file = (mediaType, data) => ({ type: "file", mediaType, data });

function written({ role, parts, calls, call, text }) {
  if (role === "tool") {
    return { role, content: [{ type: "tool-result", toolCallId: call.id, toolName: call.name, output: { type: "text", value: text } }] };
  }
  if (calls) {
    return { role, content: calls.map(({ id, name, arguments: input }) => ({ type: "tool-call", toolCallId: id, toolName: name, input })) };
  }
  const content = parts.map((part) => {
    if (part.image) return file("image/png", part.image);
    if (part.pdf) return { ...file("application/pdf", part.pdf), filename: "page.pdf" };
    return { type: "text", text: part };
  });
  return { role, content };
}

const toolEntry = ({ name, description, parameters }) => [name, defined({ description, inputSchema: jsonSchema(parameters) })];

function checkProvider(name, provider, lacks = []) {
  check({
    name,
    lacks: ["models", ...lacks],
    status: (error) => error.statusCode,
    async ask(messages, { model = MODEL, schema, tools, tool, stop, limit } = {}) {
      const answer = await generateText({
        model: provider(model),
        messages: messages.map(written),
        output: schema && Output.object({ schema: jsonSchema(schema) }),
        tools: tools && Object.fromEntries(tools.map(toolEntry)),
        toolChoice: tool && { type: "tool", toolName: tool },
        stopSequences: stop && [stop],
        maxOutputTokens: limit,
        maxRetries: 0,
      });
      const calls = answer.toolCalls.map(({ toolCallId, toolName, input }) => ({ id: toolCallId, name: toolName, arguments: input }));
      const text = schema ? JSON.stringify(answer.output) : answer.text;
      return { text, calls, inputTokens: answer.usage.inputTokens, cut: answer.finishReason === "length" };
    },
    async *stream(messages) {
      yield* streamText({ model: provider(MODEL), messages: messages.map(written), maxRetries: 0 }).textStream;
    },
  });
}

checkProvider("@ai-sdk/openai, responses", (model) => openai(model), ["a stop text"]);
checkProvider("@ai-sdk/openai, chat completions", (model) => openai.chat(model));
checkProvider("@ai-sdk/openai-compatible", (model) => compatible(model));
checkProvider("@ai-sdk/anthropic", (model) => anthropic(model));
