"""Addresses that lead, or pretend to lead, to services that only this machine can reach. None of them may make us send a packet there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

SITE = "pictures.example"
"""A host on the internet that is in the hands of the attacker: it redirects to wherever its query says."""
SITE_IP = "93.184.215.14"
INSIDE = ("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "168.63.129.16", "192.0.0.192")
"""Where a canary listens."""
INSIDE_6 = ("fd00::1", "fd00:ec2::254", "fec0::1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1", "3fff::1")
PORTS = (22, 80, 443, 8000, 8080, 11434)


@dataclass(frozen=True)
class Trick:
    """An address, and what the names in it resolve to, lookup by lookup (the last answer stays)."""

    address: str
    names: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)

    def __str__(self) -> str:
        return ascii(self.address)[1:-1] + "".join(f" {name}={'/'.join(map(','.join, told))}" for name, told in self.names.items())


def redirecting(*locations: str, status: int = 302, refresh: bool = False) -> str:
    """Return an address at the attacker's host that redirects to the first location, or to one that does so to the others in turn."""
    at = locations[-1]
    for _ in locations[1:]:
        at = f"http://{SITE}/?to={quote(at, safe='')}&status={status}"
    return f"http://{SITE}/?to={quote(at, safe='')}&status={status}{'&refresh=1' if refresh else ''}"


IPV4 = (
    *("127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "127.1.", "2130706433", "2130706433.", "0x7f000001", "0X7F000001", "0x7f.1"),
    *("0x7f.0x0.0x0.0x1", "017700000001", "0177.0.0.1", "0177.1", "00177.0.0.01", "127.000.000.001", "127.0x1", "127.0.0.0x1", "0x7f.0.1"),
    *("127.255.255.254", "127.0.0.1:80", "127.0.0.1:443", "127.0.0.1:11434", "127.1:8080", "0", "0.0.0.0", "0x0", "00", "0.", "0.1"),
    *("10.0.0.1", "10.1", "167772161", "0x0a000001", "012.0.0.1", "172.16.0.1", "0xac.0x10.1", "192.168.0.1", "192.168.1", "3232235521"),
    *("169.254.169.254", "169.254.43518", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "100.64.0.1", "1681915905"),
    *("168.63.129.16", "192.0.0.192", "192.88.99.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "255.255.255.255"),
    *("240.0.0.1", "4294967295", "4429184257", "127.0.0.1.1", "256.256.256.256", "127.0.0.256"),
)
IPV6 = (
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:1]"),
    *("[::127.0.0.1]", "[::7f00:1]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]"),
    *("[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::]", "[2001:0:7f00:1::]", "[2001:db8::1]"),
    *("[fe80::1]", "[fe80::1%25lo]", "[fe80::1%lo]", "[::1%25lo]", "[::1%lo]", "[fd00::1]", "[fd00:ec2::254]", "[fc00::1]", "[fec0::1]"),
    *("[ff02::1]", "[100::1]", "[3fff::1]", "[2606:4700::5efe:127.0.0.1]", "[2606:4700::200:5efe:7f00:1]", "[::1]:11434", "::1", "[::1"),
    *("[127.0.0.1]", "[::1].pictures.example", "[v1.127.0.0.1]"),
)
UNICODE = (
    *(
        "127\u30020\u30020\u30021",
        "127\uff0e0\uff0e0\uff0e1",
        "\uff11\uff12\uff17.0.0.1",
        "\u2460\u2461\u2466.0.0.1",
        "\u00b9\u00b2\u2077.0.0.1",
    ),
    *(
        "\U0001d7cf\U0001d7d0\U0001d7d5.0.0.1",
        "127.0.0.1\u200b",
        "127.0.\u00ad0.1",
        "loc\u00adalhost",
        "\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54",
    ),
    *("\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3", "127%2e0%2e0%2e1", "%31%32%37.0.0.1", "localhost%00.pictures.example"),
    *("0x7f\u3002\uff11", "\u0661\u0662\u0667.0.0.1", "xn--127.0.0.1", "localhost\u2024", "127.0.0.1\u2044.pictures.example"),
)
AUTHORITY = (
    *(f"http://{SITE}@127.0.0.1/", f"http://user:{SITE}@127.0.0.1/", f"http://{SITE}@@127.0.0.1/", "http://a@b@127.0.0.1/"),
    *(f"http://127.0.0.1\\@{SITE}/", f"http://{SITE}\\@127.0.0.1/", f"http://127.0.0.1\\.{SITE}/", f"http:\\\\127.0.0.1\\{SITE}"),
    *(f"http://127.0.0.1#@{SITE}/", f"http://127.0.0.1?@{SITE}/", "http://127.0.0.1:80@localhost/", f"http://{SITE}:80@127.0.0.1/"),
    *(f"http://{SITE}:0/", f"http://{SITE}:11434/", f"http://{SITE}:22/", f"http://{SITE}:65616/", f"http://{SITE}:080443/"),
    *(f"http://{SITE}:-80/", f"http://{SITE}:\uff18\uff10/", f"http://{SITE}:80:80/", f"http://{SITE}: 80/", f"http://{SITE}:8 0/"),
    *("http:127.0.0.1/", "http:/127.0.0.1/", "http:///127.0.0.1/", "http:////127.0.0.1/", " http://127.0.0.1/", "http://127.0.0.1/ "),
    *(
        "ht\ttp://127.0.0.1/",
        "http://127.0.0.1\n/",
        "http://127.0.\t0.1/",
        f"http://{SITE}/\r\nHost: localhost",
        f"http://{SITE}\0.127.0.0.1/",
    ),
    *("http://", "http://.", "http://../", f"http://.{SITE}/", f"http://-{SITE}/x", "http://*/", f"http://{'a' * 64}.example/", ""),
    f"http://{SITE}/{'a' * 2048}",
)
SCHEMES = (
    *("file:///etc/passwd", "file://localhost/etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:6379/_INFO", "dict://127.0.0.1:11211/"),
    *("data:image/png;base64,iVBORw0KGgo=", "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/", "ws://127.0.0.1/"),
    *("jar:http://127.0.0.1!/x", "javascript:alert(1)", "blob:http://127.0.0.1/x", "view-source:http://127.0.0.1/", "ldap://127.0.0.1/"),
    *(
        "tftp://127.0.0.1/",
        "netdoc:///etc/passwd",
        "//127.0.0.1/",
        "///127.0.0.1/",
        "127.0.0.1",
        "localhost/x.png",
        "/etc/passwd",
        "about:blank",
    ),
)
NAMES = (
    Trick("http://localhost/", {"localhost": [["127.0.0.1", "::1"]]}),
    Trick("http://LOCALHOST./", {"localhost": [["127.0.0.1"]]}),
    Trick("https://printer.local/", {"printer.local": [["192.168.0.1"]]}),
    Trick("http://metadata.google.internal/", {"metadata.google.internal": [["169.254.169.254"]]}),
    Trick("http://127.0.0.1.nip.example/", {"127.0.0.1.nip.example": [["127.0.0.1"]]}),
    Trick("http://inside.example/", {"inside.example": [["10.0.0.1"]]}),
    Trick("http://six.example/", {"six.example": [["fd00::1"]]}),
    Trick("http://mapped.example/", {"mapped.example": [["::ffff:127.0.0.1"]]}),
    Trick("http://translated.example/", {"translated.example": [["64:ff9b::7f00:1"]]}),
    Trick("http://scoped.example/", {"scoped.example": [["fe80::1%lo"]]}),
    Trick("http://mixed.example/", {"mixed.example": [[SITE_IP, "127.0.0.1"]]}),
    Trick("http://mixed.example/", {"mixed.example": [["127.0.0.1", SITE_IP]]}),
    Trick("http://mixed.example/", {"mixed.example": [[SITE_IP, "fd00::1"]]}),
    Trick("http://mixed.example/", {"mixed.example": [["2606:2800:21f:cb07:6820:80da:af6b:8b2c", "10.0.0.1"]]}),
    # A CNAME is followed by the resolver: what comes of it is an address of another name.
    Trick("http://alias.example/", {"alias.example": [["172.16.0.1"]]}),
    Trick("http://empty.example/", {"empty.example": [[]]}),
    Trick("http://nonsense.example/", {"nonsense.example": [["not an address"]]}),
    # Rebinding: public when it is looked at, private when it is dialled, if it were asked for twice.
    Trick(redirecting(f"http://{SITE}/"), {SITE: [[SITE_IP], ["127.0.0.1"]]}),
    Trick(redirecting("http://rebinds.example/"), {"rebinds.example": [["127.0.0.1"], [SITE_IP]]}),
    Trick(redirecting(f"http://{SITE}/a", f"http://{SITE}/b"), {SITE: [[SITE_IP], [SITE_IP], ["169.254.169.254"]]}),
)
REDIRECTS = (
    *(Trick(redirecting("http://127.0.0.1/", status=status)) for status in (301, 302, 303, 307, 308)),
    *(
        Trick(redirecting(location))
        for location in (
            *(
                "http://169.254.169.254/latest/meta-data/",
                "http://10.0.0.1/",
                "http://[::1]/",
                "http://[::ffff:127.0.0.1]/",
                "http://2130706433/",
            ),
            *(
                "http://0x7f.1/",
                "http://127.0.0.1:11434/api/tags",
                f"http://{SITE}:11434/",
                f"http://{SITE}:22/",
                "//127.0.0.1/",
            ),
            *(
                "\\\\127.0.0.1/",
                "/\\127.0.0.1/",
                "http:\\\\127.0.0.1\\",
                f"http://{SITE}@127.0.0.1/",
                "file:///etc/passwd",
                "ftp://127.0.0.1/",
            ),
            *("gopher://127.0.0.1/", "data:image/png;base64,iVBORw0KGgo=", "javascript:alert(1)", "http://127\u30020\u30020\u30021/"),
            *("http://[", "http://", "http://localhost%00/"),
        )
    ),
    Trick(redirecting("http://localhost/"), {"localhost": [["127.0.0.1"]]}),
    Trick(redirecting("http://two.example/"), {"two.example": [[SITE_IP, "192.168.0.1"]]}),
    Trick(redirecting(f"http://{SITE}/a", "http://127.0.0.1/")),
    Trick(redirecting(f"http://{SITE}/a", f"http://{SITE}/b", "http://127.0.0.1/")),
    Trick(redirecting(*[f"http://{SITE}/{hop}" for hop in range(3)], "http://127.0.0.1/")),
    Trick(redirecting("http://127.0.0.1/", status=300)),
    Trick(redirecting("http://127.0.0.1/", status=304)),
    Trick(redirecting("http://127.0.0.1/", refresh=True)),
)
TRICKS = (
    *(Trick(f"http://{host}/") for host in (*IPV4, *IPV6, *UNICODE)),
    *(Trick(f"https://{host}/latest") for host in ("127.0.0.1", "[::1]", "2130706433", "169.254.169.254")),
    *map(Trick, (*AUTHORITY, *SCHEMES)),
    *NAMES,
    *REDIRECTS,
)
A_SHARE = TRICKS[::16]
"""For tests that need more time for each."""
