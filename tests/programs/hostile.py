"""What somebody might have put into a row, or into a store."""

from sqla_artifacts import errors
from sqla_artifacts.digest import digest_of

DIGEST = digest_of(b"hello", "blake3")


def references(column):
    """Strings that are no references, or none for this column of the model."""
    kind, other = ("file", "blob") if column == "file" else ("blob", "file")
    good = f"&:{kind}:{DIGEST}:5:bytes"
    return {
        "a path": f"&:{kind}:../x",
        "a path of the right length": f"&:{kind}:{'../' * 22}:5:bytes",
        "too short": good.replace(DIGEST, DIGEST[1:]),
        "too long": good.replace(DIGEST, DIGEST + "0"),
        "in capitals": good.replace(DIGEST, DIGEST.upper()),
        "no size": good.replace(":5:", "::"),
        "a size with a sign": good.replace(":5:", ":-5:"),
        "no label": good.removesuffix("bytes"),
        "a label that leads out": good.replace("bytes", "..%2F..%2Fetc"),
        "a label with a slash": good.replace("bytes", "a/b"),
        "a line more": good + "\n",
        "a space more": " " + good,
        "empty": "",
        "a million characters": "x" * 1_000_000,
        "a million more": good + "s" * 1_000_000,
        "another kind": good.replace(kind, other),
        "no kind": good.replace(kind, "disk"),
        "a NUL": good + "\0",
        "a NUL within": good.replace(":5:", ":5\0:"),
    }


def manifests(outside):
    """Manifests that would put something where it must not be, and what is said of each.

    But for that, each is a good one.
    """
    top, evil, pack = "d 755 .", f"f 644 5 {DIGEST}", f"p 5 {DIGEST}"
    no_name, no_place, no_form = "is not a name", "is in no directory", "has none of the forms"
    leads_out = "the link's target .* may lead out of the tree"
    lines = {
        "absolute": ([top, f"{evil} {outside}/evil", pack], no_place),
        "up": ([top, f"{evil} ../evil", pack], no_place),
        "up from below": ([top, "d 755 a", f"{evil} a/../../evil", pack], no_place),
        "an encoded slash": ([top, f"{evil} ..%2Fevil", pack], no_form),
        "encoded dots": ([top, f"{evil} %2E%2E/evil", pack], no_form),
        "the directory above": ([top, "d 777 .."], no_name),
        "a NUL": ([top, f"{evil} evil%00", pack], no_name),
        "a block device": ([top, "b 666 8 0 evil"], no_form),
        "a character device": ([top, "c 666 1 3 evil"], no_form),
        "a FIFO": ([top, "p 666 evil"], no_form),
        "a link to an absolute path": ([top, f"l {outside}/evil link"], leads_out),
        "a link that leads up": ([top, "l ../evil link"], leads_out),
        "a link that leads down, then up": ([top, "d 755 a", "l a/../../evil link"], leads_out),
        "through a link": ([top, "d 755 a", "l a in", f"{evil} in/evil", pack], no_place),
        "a set-id bit": ([top, f"f 4755 5 {DIGEST} evil", pack], no_form),
        "twice": ([top, f"{evil} evil", f"{evil} evil", pack], "is there twice"),
        "a file, then a directory": ([top, f"{evil} evil", "d 755 evil", pack], "is there twice"),
        "no top": ([f"{evil} evil", pack], no_place),
        "too large": ([top, f"f 644 {1 << 63} {DIGEST} evil"], "larger than any file system"),
        "a million characters": ([top, f"{evil} {'e' * 1_000_000}", pack], no_name),
        "not ASCII": ([top, f"{evil} é", pack], "ASCII"),
    }
    header = "sqla_artifacts tree 1"
    texts = {what: ("\n".join([header, *each, ""]), said) for what, (each, said) in lines.items()}
    later = f"sqla_artifacts tree 2\n{top}\n"
    return texts | {"a later format": (later, "it is not"), "empty": ("", "it is not")}


def stores():
    """Files that would make a store one that is damaged, or not ours, and how each is refused."""
    bad = errors.StoreFormatError
    about = {
        "no JSON": "{",
        "empty": "",
        "another thing": "[]",
        "no id": '{"format": 1, "digest": "blake3"}',
        "another digest": '{"format": 1, "digest": "md5", "id": "x"}',
        "a later format": '{"format": 2, "digest": "blake3", "id": "x"}',
    }
    said = "store.json of .* is not one of format 1: .* damaged, or was written by a later version"
    ours = "the store .* belongs to another database .*another.* remove owner.json"
    return {
        f"store.json, {what}": ("store.json", each, bad, said) for what, each in about.items()
    } | {
        "owner.json, no JSON": ("owner.json", "{", bad, "owner.json of .* is damaged"),
        "owner.json, another database": (
            "owner.json",
            '{"ledger": "another"}',
            errors.ForeignStoreError,
            ours,
        ),
    }
