"""Texts that would become markup, script, templates or another order of letters where they are not escaped."""

INJECTIONS = (
    "</script><img src=x onerror=\"document.title='taken'\">",
    "<svg onload=\"document.title='taken'\">",
    "<script>document.title='x'</script>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "--><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}{# #}",
    "</title></style></pre><base href=https://example.org>",
    "javascript:alert(1)",
    "]]><![CDATA[<b>",
    "&lt;b&gt;&amp;&#x3c;script&#x3e;",
    "\u202egnp.exe\u202d \u2066 \u200f",
    "\x00\x08\x1b]52;c;aGk=\x07",
    "\u2028\u2029 line ends",
    "\ud800 half of a pair",
    "<template><style>*{display:none}</style></template>",
    "x" * 50_000,
)
AT_ONCE = "\n".join(text for text in INJECTIONS if "\ud800" not in text and len(text) < 1000)
"""All that a memory can hold, in one text."""
