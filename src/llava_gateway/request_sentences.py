"""The English sentences of what is wrong with a request: with its form, its JSON, its options, its session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llava_gateway.notes import Told


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
_PROMPT = "The question is the field prompt."
_IMAGES = (
    'In JSON, images go into images, as base64 or as {{"image_id": …}}; in a form they are files in fields named image. Links and paths'
    " are not fetched."
)
_SESSION = "A session keeps the conversation: POST /sessions starts one, POST /sessions/{{id}}/turns asks its next question, as prompt."
_FORMAT = "The shape of the answer is the field format: 'json', or the JSON schema itself."
_AS_FILES = "Images are files in fields named image; those that are stored already are ids in fields named image_id."
_BY_CURL = "With curl: -F image=@photo.jpg."
_BY_CURL_ZIP = "With curl: -F file=@session.zip."
_AS_UTF8 = (
    "Send UTF-8: with curl from a file that is saved so, --data-binary @body.json; in PowerShell -ContentType 'application/json;"
    " charset=utf-8'. Or name the charset that it is in: -H 'Content-Type: application/json; charset=gbk'."
)
# What is typed behind curl.exe comes in the code page of Windows; chcp changes nothing about that.
# What is typed behind curl.exe comes in the code page of Windows; chcp changes nothing about that.
_NAME_CHARSET = (
    'Name its charset: with curl -F "prompt=…;type=text/plain;charset=gbk" (gbk on a Chinese Windows, windows-1252 on a western one).'
    ' Or save it as UTF-8 in a file and send that: -F "prompt=<prompt.txt".'
)
_LESS = "Describe less of it."
_AS_EXPORTED = "Send it as it was exported."

REQUESTS: dict[str, Told] = {
    # Requests.
    "invalid_request": ("The request can't be understood.", "See /docs for the fields this route takes."),
    "unknown_field": ("There is no such field.", None),
    "no_field": (_NO_FIELD, None),
    "unknown_field_prompt": (_NO_FIELD, _PROMPT),
    "unknown_field_images": (_NO_FIELD, _IMAGES),
    "unknown_field_session": (_NO_FIELD, _SESSION),
    "unknown_field_format": (_NO_FIELD, _FORMAT),
    "unknown_field_spelling": (_NO_FIELD, "It is written {known}."),
    "unknown_field_file": (_NO_FIELD, _AS_FILES),
    "unknown_query_field": (_NO_FIELD_IN_QUERY, None),
    "unknown_query_field_of_body": (_NO_FIELD_IN_QUERY, "The fields of a question stand in its body."),
    "field_missing": ("{field} is missing.", None),
    "field_not_text": ("{field} must be a text.", None),
    "field_not_boolean": ("{field} must be true or false.", None),
    "field_wrong": ("{field}: {detail}.", None),
    "body_wrong": ("{detail}.", None),
    "text_too_long": ("{field} has {count:,} characters; at most {most:,} are taken.", None),
    "nothing_asked": ("There is neither a prompt nor an image.", "Send a prompt, an image, or both."),
    "session_id_differs": ("session_id is not the session of this address.", None),
    "after_without_session": ("after names a turn of a session, but there is no session_id.", None),
    "glossary_wrong": (
        "glossary must be a list of at most {lines} texts of at most {characters} characters.",
        "One name or term to a line, with what it means.",
    ),
    "fork_beyond": ("The session has {count} turns; it can't be forked at {at}.", "Give a turn count from 0 up."),
    "best_beyond": ("best names candidate {best} of {count}, counted from 0.", None),
    "needs_model": ("{name} means nothing without model.", "Add model=NAME."),
    "method_not_allowed": ("This route does not take this method.", "It takes {allowed:, }; see /docs."),
    "conflicting_fields": ("Two fields say different things.", "Send one of them."),
    "fields_differ": ("{one} and {other} say different things.", None),
    "images_twice": ("{one} and {other} both have images.", "Put all into images, in order."),
    "invalid_encoding": (
        "A text is not in UTF-8, nor in the charset that is named for it.",
        _NAME_CHARSET,
    ),
    "charset_unknown": ("There is no charset {charset!r}.", "Examples: utf-8, gbk, big5, shift_jis, windows-1252."),
    "charset_differs": (
        "{what=The body} is not in the charset that is named for it, {charset}.",
        "Name the one it is in; where it is UTF-8, none need be named.",
    ),
    "charset_unnamed": ("{what=The body} is not UTF-8, and no charset is named.", None),
    "charset_unnamed_utf16": ("{what=The body} is UTF-16, and no charset is named.", None),
    "query_not_utf8": (
        "The query is not percent-encoded UTF-8.",
        "With curl: -G --data-urlencode q@words.txt, where the words are saved as UTF-8.",
    ),
    "request_too_large": ("The request body is too large.", "Send fewer or smaller images, or refer to images by image_id."),
    "body_bytes": ("The body has more than {most_bytes:,} bytes.", None),
    "headers_too_large": (
        "The headers or the address of the request are too long.",
        "Send at most 64 KiB and 200 headers. Cookies of other programs on this machine may be among them: delete those.",
    ),
    "request_timeout": ("The request body did not arrive in time.", "Send the body without long pauses."),
    "unsupported_media_type": ("This route does not take such a body.", "Send application/json or multipart/form-data."),
    "body_not_json": ("The body must be application/json.", "With curl: -H 'Content-Type: application/json'."),
    "body_not_json_or_form": (
        "The body must be application/json or multipart/form-data.",
        "With curl: -F image=@photo.jpg -F prompt='...'; for JSON, -H 'Content-Type: application/json' before -d.",
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
        'With curl, -F "{field}=<{field}.txt" reads the text out of a file. ' + _AS_FILES,
    ),
    "text_for_image": ("{field} must be a file.", _BY_CURL + " Mind the @."),
    "text_for_archive": ("{field} must be a file.", _BY_CURL_ZIP + " Mind the @."),
    "form_without_image": ("There is no image in the form.", _BY_CURL),
    "form_of_two_images": ("There are two images in the form, and this route takes one.", _BY_CURL),
    # JSON.
    "invalid_json": (
        "The body is not valid JSON.",
        "Send UTF-8 JSON with finite numbers, without NUL characters, nested at most 64 deep, with at most 50,000 values.",
    ),
    "json_not_utf8": ("{what=The body} is not UTF-8.", _AS_UTF8),
    "json_utf16": ("{what=The body} is UTF-16.", _AS_UTF8),
    "json_syntax": (_not_json, None),
    "json_open_text": ("{what=The body} is not valid JSON: a text is never closed.", None),
    "json_control_character": ("{what=The body} is not valid JSON: a text has a control character in it.", None),
    "json_escape": ("{what=The body} is not valid JSON: a text has a wrong escape or a control character in it.", None),
    "json_escapes": ("{what=The body} has a text of more than {most:,} bytes that are escapes.", None),
    "json_too_deep": ("{what=The body} is nested too deep.", None),
    "json_values": ("{what=The body} has more than {most:,} values.", None),
    "json_bytes": ("{what=The body} has more than {most_bytes:,} bytes beside its long texts.", None),
    "json_nul": ("A text has a NUL character in it.", None),
    "json_surrogate": ("A text has half of a surrogate pair in it.", None),
    "json_constant": ("{name} is not a JSON number.", None),
    "json_long_number": ("{number}… is too long a number.", None),
    "json_large_number": ("{number} is too large a number.", None),
    "json_field_twice": ("An object names a field twice.", None),
    "json_not_object": ("{what=The body} must be a JSON object.", None),
    # Options, formats and regions.
    "invalid_option": ("An option is not valid.", None),
    "unknown_option": (_NO_OPTION, _OPTIONS),
    "unknown_option_name": (_NO_OPTION, "It is named {known} here."),
    "unknown_option_prompt": (_NO_OPTION, f"{_PROMPT} {_OPTIONS}"),
    "unknown_option_images": (_NO_OPTION, f"{_IMAGES} {_OPTIONS}"),
    "unknown_option_session": (_NO_OPTION, f"{_SESSION} {_OPTIONS}"),
    "unknown_option_format": (_NO_OPTION, f"{_FORMAT} {_OPTIONS}"),
    "no_option": ("{field} is no option.", 'It stands beside options: {{"{field}": …, "options": {{…}}}}.'),
    "option_out_of_range": (_range, "{option}: {about}."),
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
    "schema_too_deep": ("The JSON schema is nested too deep.", _LESS),
    "schema_mixed_list": ("A list of more than {most} items must have texts or whole numbers alone.", None),
    "schema_not_followed": ("The engine can't follow this JSON schema.", "Use a simpler schema: types, properties, items, enum."),
    "format_not_followed": ("The engine can't follow this format.", "Send a plainer JSON schema, or format: json."),
    "invalid_region": (
        "The region is not a part of the image.",
        "Send [x, y, width, height] in fractions of the upright image: [0.5, 0, 0.5, 0.5] is its top right quarter.",
    ),
    "region_wrong": ("{field} must be four numbers from 0 to 1, which are fractions of the image and not pixels or percent.", None),
    "region_too_small": ("Each side of a region must be at least {least:g} of the image's.", None),
    "region_beyond": ("The region reaches beyond the image: x + width and y + height must be at most 1.", None),
    "region_without_image": (
        "There is a region but no image in this question.",
        'Refer to an earlier image by its id: "images": [{{"image_id": "…", "region": […]}}].',
    ),
    "region_of_several": (
        "There is one region for {count} images.",
        'Put it on the image it is of: "images": [{{"data": "…", "region": […]}}, …], or {{"image_id": "…", "region": […]}}.',
    ),
    "size_wrong": (
        "{field} must be two whole numbers of pixels from 32 to 16384: width and height.",
        "Send [672, 672], or the text 672x672.",
    ),
    # What is not there.
    "not_found": ("There is no such thing.", "Check the address; /docs lists every route."),
    "unknown_route": ("There is no such route.", None),
    "unknown_route_of_api": (
        "There is no such route: {api}'s API is not spoken here yet.",
        "Ask with POST /ask, in JSON or as a form; GET /models lists the models, GET /docs all routes.",
    ),
    # Sessions.
    "session_not_found": (
        "There is no such session.",
        "Sessions live in memory and end with the server; start a new one with POST /sessions.",
    ),
    "session_not_restored": ("There is no such session, or it was deleted too long ago.", None),
    "turn_not_found": (
        "The session has no such turn.",
        "GET /sessions/{{id}} lists the turns with their ids, and beside each the ids of those in its place.",
    ),
    "session_busy": ("The session is answering another turn.", "Wait for the running answer to end, or stop it."),
    "session_full": ("The session holds all that it may.", "Start a new session, or fork this one at an earlier turn."),
    "session_turns": ("The session has {count:,} turns; {most:,} are the most.", None),
    "session_bytes": ("The session and its images would take more than {most_bytes:,} bytes.", None),
    "storage_full": (
        "There is no room left for images and sessions.",
        "Delete sessions that are no longer needed, or raise store_max_bytes in the settings.",
    ),
    "session_deleted": ("The session was deleted while it was answering.", "Start a new session."),
    "invalid_archive": (
        "This is not a session as it was exported.",
        "Send what GET /sessions/{{id}}/export gave as json or zip, unchanged.",
    ),
    "archive_empty": ("There is nothing in the file.", None),
    "archive_version": (
        "The session is of version {version} of its format; {known} is read here.",
        "Use the gateway that it comes from, or a newer one.",
    ),
    "archive_images_sent": ("A turn has {count} images and {sent} of them sent.", None),
    "archive_images_filed": ("A turn has {count} images and tells of {files} files.", None),
    "archive_turns_alike": ("Two turns have the same id.", None),
    "archive_turn_order": ("Turn {turn} must follow a turn that was asked before it.", None),
    "archive_image_unshown": ("An image is spoken of that no turn shows.", None),
    "archive_image_missing": ("The image {image}… is missing.", None),
    "archive_image_extra": ("The image {image}… is in no turn.", None),
    "archive_image_data": ("An image has data, or names a file in the zip.", None),
    "archive_not_zip": ("An image names a file, but this is not a zip.", "Send the zip it comes from."),
    "archive_too_large": (
        "The exported session holds more than is taken.",
        "Raise body_max_bytes, session_max_bytes or session_max_turns in the settings to what the error names.",
    ),
    "archive_images_bytes": ("The images have more than {most_bytes:,} bytes.", None),
    "zip_cut_off": ("The zip is cut off, or of a kind that is not read.", _AS_EXPORTED),
    "zip_of_too_many": ("The zip holds more files than a session can have.", _AS_EXPORTED),
    "zip_damaged": ("The zip is damaged.", "Export it again."),
    "zip_without": ("There must be one {name} in the zip; there are {count}.", None),
    "zip_not_packed_so": ("{name} is encrypted, or packed in a way that is not read.", None),
    "zip_member_damaged": ("{name} is damaged in the zip.", "Export it again."),
    "zip_member_bytes": ("{name} would unpack to more than {most_bytes:,} bytes.", None),
}
