"""Unpacking: making a local copy of a file or tree.

The copy has its name only once it is complete (:mod:`sqla_artifacts.placing`) and every
digest has been checked.

Nothing leads out of a tree that is being unpacked: its temporary directory is this user's
alone until all is in it, and is held open; its members are reached through
:class:`~sqla_artifacts.folder.Folder` and made where there is nothing, the links last; and
the links of a manifest stay inside. What somebody has put in the place of the copy by the time
that it gets its name is refused.
"""

from .file import read_up_to, unpack_file
from .filling import PIECE, Filling, fillings, requests, split
from .tree import Done, Each, in_turn, unpack_members, unpack_tree

__all__ = [
    "PIECE",
    "Done",
    "Each",
    "Filling",
    "fillings",
    "in_turn",
    "read_up_to",
    "requests",
    "split",
    "unpack_file",
    "unpack_members",
    "unpack_tree",
]
