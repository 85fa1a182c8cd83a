"""The English sentences for errors in a request: in its format, its JSON, its options, its session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llava_gateway.notes import INSTALL_MCP, ErrorText


def _not_json(values: Mapping[str, Any]) -> str:
    at = "".join(f"{word} {values[name]}" for name, word in (("line", " at line"), ("column", ", column")) if name in values)
    return f"{values.get('what', 'The body')} is not valid JSON{at}."


def _range(values: Mapping[str, Any]) -> str:
    kind = "a whole number" if values["whole"] else "a number"
    unit = f" {values['unit']}" if values["unit"] else ""
    return f"{values['field']} must be {kind} from {values['low']:g} to {values['high']:.10g}{unit}; got {values['given']}."


_NO_FIELD = "There is no field {field!r}."
_NO_FIELD_IN_QUERY = "There is no field {field!r} in the query."
_NO_OPTION = "There is no option {field!r}."
_OPTIONS = "Options: {known:, }."
_PROMPT = "The question goes into the field prompt."
_IMAGES = (
    'In JSON, images go into images, as base64 or as {{"image_id": …}}. In a form, they are files in fields named image. Addresses go into'
    " image_urls, or in a form into image_url."
)
_SESSION = "A session keeps the conversation: POST /sessions starts one, POST /sessions/{{id}}/turns asks the next question, as prompt."
_FORMAT = "The format of the answer goes into the field format: 'json', or the JSON schema itself."
_AS_FILES = "Images are files in fields named image. For stored images, send their ids in fields named image_id."
_BY_CURL = "With curl: -F image=@photo.jpg."
_BY_CURL_FILE = "With curl: -F file=@photo.jpg -F purpose=user_data."
_BY_CURL_ZIP = "With curl: -F file=@session.zip."
_AS_UTF8 = (
    "Send UTF-8. With curl, send a file saved as UTF-8: --data-binary @body.json. In PowerShell, add -ContentType 'application/json;"
    " charset=utf-8'. Or name the charset of the text: -H 'Content-Type: application/json; charset=gbk'."
)
# Arguments of curl.exe arrive in the code page of Windows. chcp does not change that.
_NAME_CHARSET = (
    'Name its charset. With curl: -F "prompt=…;type=text/plain;charset=gbk" (gbk on a Chinese Windows, windows-1252 on a western one).'
    ' Or save the text as UTF-8 in a file and send that: -F "prompt=<prompt.txt".'
)
_LESS = "Use a smaller schema."
_AS_EXPORTED = "Send the exported file unchanged."

REQUESTS: dict[str, ErrorText] = {
    # Requests.
    "invalid_request": ("The request can't be understood.", "See /docs for the fields this route takes."),
    "unknown_field": ("There is no such field.", None),
    "no_field": (_NO_FIELD, None),
    "unknown_field_prompt": (_NO_FIELD, _PROMPT),
    "unknown_field_images": (_NO_FIELD, _IMAGES),
    "unknown_field_session": (_NO_FIELD, _SESSION),
    "unknown_field_format": (_NO_FIELD, _FORMAT),
    "unknown_field_spelling": (_NO_FIELD, "Write it as {known}."),
    "unknown_field_file": (_NO_FIELD, _AS_FILES),
    "unknown_query_field": (_NO_FIELD_IN_QUERY, None),
    "unknown_query_field_of_body": (_NO_FIELD_IN_QUERY, "The fields of a question go into the body."),
    "field_missing": ("{field} is missing.", None),
    "field_not_text": ("{field} must be a text.", None),
    "field_not_boolean": ("{field} must be true or false.", None),
    "field_wrong": ("{field}: {detail}.", None),
    "body_wrong": ("{detail}.", None),
    "message_wrong": ("{field} must be an object with a role and a content.", None),
    "content_wrong": ("{field} must be a text or a list of parts.", None),
    "part_unknown": ("There is no type {type!r} of parts.", "Types: {known:, }."),
    "tool_call_wrong": ("{field} must have an id, and a function with a name and its arguments as a text.", None),
    "input_wrong": ("{field} must be a text or a list of items.", None),
    "item_wrong": ("{field} must be an object: a message, a call or its output.", None),
    "item_unknown": ("There is no type {type!r} of items.", "Types: {known:, }."),
    "field_not_here": ("{field} is not supported.", "Send the conversation as input, or its last response as previous_response_id."),
    "truncation_wrong": ("{field} must be one of {known:, }.", None),
    "responses_in_session": ("A response has no session.", "previous_response_id continues a conversation."),
    "stored_not_streamed": ("A stored response is complete, so there is nothing to stream.", "Leave out stream."),
    "tools_wrong": ("{field} must be a list of at most {most} tools.", None),
    "tool_unknown": (
        "{field} must be function: there are no other tools here.",
        "Leave out tools that a server would run itself, such as web search.",
    ),
    "tool_parameters_wrong": ("{field} must be a JSON schema, which is an object.", None),
    "tool_choice_wrong": (
        "{field} must be auto, none, required, or one of the tools by its name.",
        "Tools of this request: {known:, }.",
    ),
    "tools_in_session": ("A session can't keep the calls of tools.", "Send the whole conversation, without session_id."),
    "functions_outdated": ("{field} is an old name for tools.", "Send tools and tool_choice."),
    "nothing_new": ("There is no message by the user behind the last answer.", None),
    "top_logprobs_alone": ("{field} needs logprobs: true.", None),
    "effort_wrong": ("{field} must be one of {known:, }.", None),
    "options_wrong": ("{field} must be an object of options.", None),
    "format_unknown": ("{field} must be one of {known:, }.", None),
    "format_without_schema": ("{field} must be the JSON schema that the answer follows.", None),
    "dimensions_fixed": ("The number of dimensions is fixed by the model.", "Leave out dimensions."),
    "embed_input_wrong": ("{field} must be a text, or a list of 1 to {most} texts, none of them empty.", None),
    "body_not_file_form": ("The body must be a form (multipart/form-data) with the file in its field file.", _BY_CURL_FILE),
    "form_without_file": ("There is no file in the form.", _BY_CURL_FILE),
    "form_of_two_files": ("There are two files in the form, but this route takes only one.", _BY_CURL_FILE),
    "purpose_unknown": ("{field} must be one of {known:, }.", None),
    "text_too_long": ("{field} has {count:,} characters. The limit is {most:,}.", None),
    "nothing_asked": ("There is neither a prompt nor an image.", "Send a prompt, an image, or both."),
    "message_empty": ("{field} is empty.", "Send a text, an image, or both."),
    "block_unknown": ("{field} has the type {type!r}, which is not supported there.", "Supported types: {known:, }."),
    "block_without_type": ("{field} has no type.", "Every block is an object with a type, such as text or image."),
    "not_here": ("{field} is not supported.", "Leave the field out. Tools are run by the client."),
    "tool_of_anthropic": (
        "{field} has the type {type!r}, which only Anthropic's own models know.",
        "Send a tool with a name, a description and an input_schema.",
    ),
    "tool_choice_without_tools": ("{field} forces a tool, but there are no tools.", "Send the tools, or leave {field} out."),
    "tool_choice_unknown": ("{field} names none of the tools.", "Tools: {known:, }."),
    "mcp_missing": ("The tools for agents (MCP) are not installed.", f"Install them with {INSTALL_MCP}, and restart the gateway."),
    "image_not_named": (
        "{field} is neither an image_id nor a data: URL nor an http or https address.",
        "Paths work only in `llava-gateway mcp`. Store the file with POST /images, and pass its id.",
    ),
    "pdf_is_image": ("{field} is the id of an image, not a PDF.", "Use look_at_image for a stored page."),
    "path_missing": ("There is no file {field}.", "Pass the path of an image file, absolute or inside the working directory."),
    "path_outside": (
        "This path is outside of the folders that may be read.",
        "Allowed are the client's roots, folders given with --root and, without either, the working directory.",
    ),
    "path_unreadable": ("The file {field} can't be read.", "Check its name and its permissions."),
    "path_too_large": ("The file has more than {most_bytes:,} bytes.", "Pass a smaller file."),
    "agent_tool_unknown": ("There is no such tool.", "Tools: {known:, }."),
    "limit_wrong": ("{field} must be a whole number from 1 to {most}.", None),
    "max_tokens_wrong": ("{field} must be at least 1.", "Leave it out for an answer until the model stops."),
    "session_id_differs": ("session_id is not the session in this address.", None),
    "nothing_to_continue": ("The last turn has no answer to continue.", "Ask the question again."),
    "turn_not_last": (
        "This is not the last turn of the current branch, which is {last}.",
        "Only the last answer can be continued. To switch to another branch, send PATCH with `branch` first.",
    ),
    "answer_whole": ("The answer is complete.", "Only an answer that was stopped, broke off or reached its length limit can be continued."),
    "after_without_session": ("after names a turn, but there is no session_id.", None),
    "glossary_wrong": (
        "glossary must be a list of at most {lines} texts of at most {characters} characters.",
        "Write one name or term per line, with its meaning.",
    ),
    "fork_beyond": ("The session has {count} turns, so it can't be forked at {at}.", "Give a number of turns from 0 up."),
    "best_beyond": ("best is {best}, but there are {count} candidates, counted from 0.", None),
    # Requests to the APIs of others.
    "role_unknown": ("{field} is {role!r}. The roles are {known:, }.", None),
    "content_part_unknown": ("{field} is neither a text nor an image.", "A content is a text, or a list of texts and images."),
    "image_buffer_wrong": ("{field} must have bytes in data: whole numbers from 0 to 255.", "Send the image as base64 instead."),
    "think_wrong": ("{field} must be true, false, low, medium, high or max.", None),
    "context_unknown": (
        "The context does not come from an answer of this gateway, so it can't be read here.",
        "Leave context out, or send the whole conversation to /api/chat.",
    ),
    "field_unsupported": ("{field} is not supported.", "Leave it out."),
    "create_from_nothing": ("There is neither from nor files.", "Name the model that the new one is made from."),
    "create_elsewhere": ("{field} would make Ollama send questions to another machine.", "Name a model in from, or upload its files."),
    "blob_missing": ("Ollama does not have the file {digest}.", "Upload it first, with POST /api/blobs/DIGEST."),
    "digest_wrong": ("The digest must be sha256: and 64 hexadecimal digits.", "Send the SHA-256 of the file, in small letters."),
    "digest_differs": ("The body does not have the digest {digest}.", "Compute the SHA-256 of the file again, and upload the whole file."),
    "raw_prompt": ("{field} is only supported for models of Ollama.", "Leave it out, or choose a model of Ollama."),
    "raw_alone": ("{field} has no effect on a raw prompt.", "Leave it out, or write it into the prompt."),
    "context_of_prompt": ("context can't go with raw, template or suffix.", "Leave context out, or write it into the prompt."),
    "model_lacks_insert": ("This model can't fill a gap before a suffix.", "Leave suffix out, or choose a model for code."),
    "needs_model": ("{name} has no effect without model.", "Add model=NAME."),
    "method_not_allowed": ("This route does not support this method.", "It supports {allowed:, }. See /docs."),
    "conflicting_fields": ("Two fields contradict each other.", "Send only one of them."),
    "fields_differ": ("{one} and {other} contradict each other.", None),
    "images_twice": ("{one} and {other} both have images.", "Put all of them into the field images, in order."),
    "invalid_encoding": (
        "A text is neither UTF-8 nor in the charset that the request gives for it.",
        _NAME_CHARSET,
    ),
    "charset_unknown": ("There is no charset named {charset!r}.", "Examples: utf-8, gbk, big5, shift_jis, windows-1252."),
    "charset_differs": (
        "{what=The body} is not in the charset that the request gives for it, {charset}.",
        "Name the charset that it is in. For UTF-8, leave it out.",
    ),
    "charset_unnamed": ("{what=The body} is not UTF-8, and no charset is given.", None),
    "charset_unnamed_utf16": ("{what=The body} is UTF-16, and no charset is given.", None),
    "query_not_utf8": (
        "The query is not percent-encoded UTF-8.",
        "With curl: -G --data-urlencode q@words.txt, with a file saved as UTF-8.",
    ),
    "request_too_large": ("The request body is too large.", "Send fewer or smaller images, or refer to images by image_id."),
    "body_bytes": ("The body is larger than the limit of {most_bytes:,} bytes.", None),
    "headers_too_large": (
        "The headers or the address of the request are too long.",
        "Send at most 64 KiB and 200 headers. Cookies of other programs on this machine may be among them. Delete those.",
    ),
    "request_timeout": ("The request body did not arrive in time.", "Send the body without long pauses."),
    "body_slow": (
        "The request body was not complete after {seconds:g} s.",
        "Send smaller images, or raise body_timeout in the settings.",
    ),
    "unsupported_media_type": ("This route does not accept this kind of body.", "Send application/json or multipart/form-data."),
    "body_not_json": ("The body must be application/json.", "With curl: -H 'Content-Type: application/json'."),
    "body_not_json_or_form": (
        "The body must be application/json or multipart/form-data.",
        "With curl: -F image=@photo.jpg -F prompt='...'. For JSON, put -H 'Content-Type: application/json' before -d.",
    ),
    "body_urlencoded": (
        "The Content-Type is that of a URL-encoded form, which `curl -d` sends. This route takes JSON or multipart/form-data.",
        (
            "With curl: each field with -F (-F prompt='...'), or JSON with -H 'Content-Type: application/json' before -d."
            " With Python's requests: json=, or files= beside data=."
        ),
    ),
    "body_not_image_form": ("The body must be a form (multipart/form-data) with the image in its field image.", _BY_CURL),
    "body_not_archive": ("The body must be {types:, } or multipart/form-data.", _BY_CURL_ZIP),
    "invalid_body": ("The request body can't be read as multipart/form-data.", None),
    "invalid_body_boundary": (
        "The request body can't be read as multipart/form-data.",
        "Leave the Content-Type header to your client, which puts the boundary into it: curl does with -F, requests with files=.",
    ),
    "invalid_body_type": (
        "The Content-Type header is too long.",
        "Leave the Content-Type header to your client, which puts the boundary into it: curl does with -F, requests with files=.",
    ),
    "invalid_body_detail": ("The request body can't be read as multipart/form-data.", "{detail}"),
    "file_for_text": (
        "{field} must be a text, not a file.",
        'With curl, -F "{field}=<{field}.txt" reads the text from a file. ' + _AS_FILES,
    ),
    "text_for_image": ("{field} must be a file.", _BY_CURL + " Note the @."),
    "text_for_archive": ("{field} must be a file.", _BY_CURL_ZIP + " Note the @."),
    "form_without_image": ("There is no image in the form.", _BY_CURL),
    "form_of_two_images": ("There are two images in the form, but this route takes only one.", _BY_CURL),
    # JSON.
    "invalid_json": (
        "The body is not valid JSON.",
        "Send UTF-8 JSON with finite numbers, without NUL characters, nested at most 64 deep, with at most 50,000 values.",
    ),
    "json_not_utf8": ("{what=The body} is not UTF-8.", _AS_UTF8),
    "json_utf16": ("{what=The body} is UTF-16.", _AS_UTF8),
    "json_syntax": (_not_json, None),
    "json_open_text": ("{what=The body} is not valid JSON: a string is never closed.", None),
    "json_control_character": ("{what=The body} is not valid JSON: a string contains a control character.", None),
    "json_escape": ("{what=The body} is not valid JSON: a string contains an invalid escape or a control character.", None),
    "json_too_deep": ("{what=The body} is nested too deeply.", None),
    "json_values": ("{what=The body} has more than {most:,} values.", None),
    "json_bytes": ("{what=The body} has more than {most_bytes:,} bytes, not counting long strings.", None),
    "json_text_bytes": (
        "A string in {what=the body} has more than {most_bytes:,} bytes.",
        (
            "No field takes a string that long. Send a large video as a file in a form (multipart/form-data). If it is an image in base64,"
            " send a smaller file, or raise image_max_bytes in the settings."
        ),
    ),
    "json_nul": ("A string contains a NUL character.", None),
    "json_surrogate": ("A string contains half of a surrogate pair.", None),
    "json_constant": ("{name} is not a JSON number.", None),
    "json_long_number": ("The number {number}… is too long.", None),
    "json_large_number": ("The number {number} is too large.", None),
    "json_field_twice": ("An object has the same field twice.", None),
    "json_not_object": ("{what=The body} must be a JSON object.", None),
    # Options, formats and regions.
    "invalid_option": ("An option is not valid.", None),
    "unknown_option": (_NO_OPTION, _OPTIONS),
    "unknown_option_name": (_NO_OPTION, "It is called {known} here."),
    "unknown_option_prompt": (_NO_OPTION, f"{_PROMPT} {_OPTIONS}"),
    "unknown_option_images": (_NO_OPTION, f"{_IMAGES} {_OPTIONS}"),
    "unknown_option_session": (_NO_OPTION, f"{_SESSION} {_OPTIONS}"),
    "unknown_option_format": (_NO_OPTION, f"{_FORMAT} {_OPTIONS}"),
    "no_option": ("{field} is not an option.", 'It goes next to options: {{"{field}": …, "options": {{…}}}}.'),
    "option_out_of_range": (_range, "{option}: {about}."),
    "too_many_threads": (
        "{field} must be at most {most}, {each} for each of the {processors:processor|processors} of this machine; got {given}.",
        "0 lets the engine decide.",
    ),
    "option_gone": ("This version of Ollama no longer supports {option}.", "Leave it out."),
    "num_predict_zero": ("{field} must not be 0.", "1 is the shortest answer, -1 means no limit."),
    "stop_wrong": (
        "{field} must be a text or a list of at most {most} texts of 1 to {characters} characters.",
        "The answer ends before the first of these texts.",
    ),
    "keep_alive_wrong": ("{field} must be a number of seconds or a duration.", "Examples: 300, '5m', '1h30m', 0 (unload), -1 (for ever)."),
    "unknown_preset": ("There is no preset {preset!r}.", "Presets: {known:, }."),
    "invalid_format": (
        "The format is not a valid JSON schema.",
        "Send 'json', or a JSON schema (draft 2020-12, or another that its $schema names).",
    ),
    "format_wrong": ("{field} must be 'json' or a JSON schema, which is an object.", None),
    "schema_wrong": ("{where}: {detail}.", None),
    "schema_name_wrong": ("$schema must be a text.", None),
    "schema_too_long": ("The JSON schema has more than {most:,} characters.", _LESS),
    "schema_too_large": ("The JSON schema has more than {most:,} objects.", _LESS),
    "schema_too_deep": ("The JSON schema is nested too deeply.", _LESS),
    "schema_mixed_list": ("A list of more than {most} items must contain only strings or only whole numbers.", None),
    "schema_not_followed": ("The engine can't follow this JSON schema.", "Use a simpler schema: types, properties, items, enum."),
    "format_not_followed": ("The engine can't follow this format.", "Send a simpler JSON schema, or format: json."),
    "invalid_region": (
        "The region is not part of the image.",
        "Send [x, y, width, height] in fractions of the upright image: [0.5, 0, 0.5, 0.5] is its top right quarter.",
    ),
    "background_wrong": ("{field} must be auto or a colour such as #336699.", None),
    "region_wrong": ("{field} must be four numbers from 0 to 1. They are fractions of the image, not pixels or percent.", None),
    "region_too_small": ("Each side of a region must be at least {least:g} of the image's side.", None),
    "region_beyond": ("The region extends beyond the image: x + width and y + height must be at most 1.", None),
    "region_without_image": (
        "There is a region but no image in this question.",
        'Refer to an earlier image by its id: "images": [{{"image_id": "…", "region": […]}}].',
    ),
    "region_of_several": (
        "There is one region for {count} images.",
        'Put it on the image it belongs to: "images": [{{"data": "…", "region": […]}}, …], or {{"image_id": "…", "region": […]}}.',
    ),
    "size_wrong": (
        "{field} must be two whole numbers of pixels from 32 to 16384: width and height.",
        "Send [672, 672], or the text 672x672.",
    ),
    # Things that are missing.
    "not_found": ("There is nothing at this address.", "Check the address. /docs lists every route."),
    "unknown_route": ("There is no such route.", None),
    "unknown_route_of_api": (
        "This gateway has no such route of the {api} API.",
        "It speaks the APIs of Ollama (/api/chat), OpenAI (/v1/chat/completions) and Anthropic (/v1/messages). Its own begins with /ask.",
    ),
    "response_not_found": (
        "There is no such response.",
        "Responses are kept in memory, for 30 days at most, and not those with store: false. Send the whole conversation as input.",
    ),
    "previous_response_not_found": (
        "There is no such response.",
        "Responses are kept in memory, for 30 days at most, and not those with store: false. Send the whole conversation as input.",
    ),
    "item_not_found": (
        "There is no such item: {field} names none of a stored response.",
        "Send the item itself. Responses are kept in memory, for 30 days at most.",
    ),
    "file_not_found": ("There is no such file.", "Files are kept in memory, those that were used last. Upload it again."),
    "stored_file_not_found": ("There is no file with this id.", "Files are kept in memory, those that were used last. Upload it again."),
    # Sessions.
    "session_not_found": (
        "There is no such session.",
        "It may have been deleted. GET /sessions lists the existing ones; POST /sessions starts a new one.",
    ),
    "session_not_restored": ("There is no such session, or it was deleted too long ago.", None),
    "turn_not_found": (
        "The session has no such turn.",
        "GET /sessions/{{id}} lists the turns with their ids, and the ids of the other versions of each turn.",
    ),
    "session_busy": ("The session is answering another turn.", "Wait until that answer ends, or stop it."),
    "answer_cancelled": ("The answer was stopped.", "The session keeps what was written until then."),
    "client_left": (
        "The answer ended because its client disconnected.",
        "With on_disconnect: continue, the answer continues without its client.",
    ),
    "answer_abandoned": ("The answer ended because nobody was reading it.", "The session keeps what was written until then."),
    "on_disconnect_without_session": (
        "on_disconnect: continue needs a session, which keeps the answer.",
        "Create one with POST /sessions and send its id as session_id, or leave on_disconnect out.",
    ),
    "session_full": ("The session is full.", "Start a new session, or fork this one at an earlier turn."),
    "session_turns": ("The session has {count:,} turns. The limit is {most:,}.", None),
    "session_bytes": ("The session and its images would exceed the limit of {most_bytes:,} bytes.", None),
    "storage_full": (
        "There is no room left for images and sessions.",
        "Delete sessions you no longer need, or raise store_max_bytes in the settings.",
    ),
    "keep_max_bytes": (
        "The chats on disk may take {most_bytes:,} bytes, and there is no room left for new images.",
        "Delete chats with images you no longer need, or raise keep_max_bytes in the settings.",
    ),
    "disk_full_for_chats": (
        "The disk is full, so the last change to this chat could not be saved.",
        "Free some space on the disk. The gateway still has the chat in its memory and saves it with the next change.",
    ),
    "storage_failed": (
        "The last change to this chat could not be written to the disk.",
        "Look for the reason in the gateway's log. The gateway still has the chat in its memory and saves it with the next change.",
    ),
    "session_unreadable": (
        "This chat can't be read from the disk.",
        "Look for the reason in the gateway's log. `llava-gateway serve --recover` saves what can be read.",
    ),
    "search_failed": ("The chats on disk can't be searched.", "Look for the reason in the gateway's log."),
    "image_unreadable": (
        "The file of this image is missing or was changed on the disk.",
        "Upload the image again.",
    ),
    "session_deleted": ("The session was deleted while it was answering.", "Start a new session."),
    "invalid_archive": (
        "This is not an exported session.",
        "Send the json or zip file from GET /sessions/{{id}}/export, unchanged.",
    ),
    "archive_empty": ("The file is empty.", None),
    "archive_version": (
        "The session has format version {version}. This gateway reads version {known}.",
        "Use the gateway that exported it, or a newer one.",
    ),
    "archive_images_sent": ("A turn has {count} images but records {sent} as sent.", None),
    "archive_images_filed": ("A turn has {count} images but records {files} files.", None),
    "archive_turns_alike": ("Two turns have the same id.", None),
    "archive_turn_order": ("Turn {turn} must follow a turn that was asked before it.", None),
    "archive_image_unshown": ("The session mentions an image that no turn shows.", None),
    "archive_image_missing": ("The image {image}… is missing.", None),
    "archive_image_extra": ("The image {image}… is not in any turn.", None),
    "archive_image_data": ("An image must either have data or name a file in the zip.", None),
    "archive_not_zip": ("An image names a file, but this is not a zip.", "Send the zip that it comes from."),
    "archive_too_large": (
        "The exported session is larger than the limit.",
        "Raise body_max_bytes, session_max_bytes or session_max_turns in the settings to the figures that the error gives.",
    ),
    "archive_images_bytes": ("The images are larger than the limit of {most_bytes:,} bytes.", None),
    "zip_cut_off": ("The zip is cut off, or of a kind that is not supported.", _AS_EXPORTED),
    "zip_of_too_many": ("The zip contains more files than a session can have.", _AS_EXPORTED),
    "zip_damaged": ("The zip is damaged.", "Export it again."),
    "zip_without": ("The zip must contain {name} once, but contains it {count:time|times}.", None),
    "zip_not_packed_so": ("{name} is encrypted, or compressed in a way that is not supported.", None),
    "zip_member_damaged": ("{name} is damaged in the zip.", "Export it again."),
    "zip_member_bytes": ("{name} would unpack to more than {most_bytes:,} bytes.", None),
}
