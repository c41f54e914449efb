"""YAML that anybody may have written, read within limits.

It is looked at before it is loaded, because loading has no bounds of its own: aliases of aliases in 400 bytes stand for
a thousand million values, a few thousand brackets end the interpreter, and of a key that is there twice the first is
lost without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from ..errors import InputError
from .messages import is_utf8, shown


def load_yaml(text: str, loader: Any, *, most_values: int, most_depth: int, most_chars: int) -> Any:
    """Load a YAML document within limits; an alias counts as all that it stands for.

    Args:
        text: one document.
        loader: a class of PyYAML's.
        most_values: lists, mappings, keys and scalars, at most.
        most_depth: lists and mappings inside each other, at most.
        most_chars: of one scalar, at most; a number like 1:59:59:... takes quadratic time.

    Raises:
        yaml.YAMLError: it is not YAML, or says a key of a mapping twice.
        InputError: it has more than is allowed, or a value that cannot be read.
    """
    if not is_utf8(text):
        raise InputError("it has half a surrogate pair, which is no character")
    _check_size(yaml.parse(text, Loader=loader), most_values, most_depth, most_chars)
    parser = loader(text)
    try:
        node = parser.get_single_node()
        if node is None:
            return None
        _check_keys(node)
        return parser.construct_document(node)
    except (yaml.YAMLError, InputError):
        raise
    except Exception as error:  # its constructors raise many kinds: for a date of a 13th month, an int of 5,000 digits
        raise InputError(f"it has a value that cannot be read ({str(error) or type(error).__name__})") from None
    finally:
        parser.dispose()


def _check_size(events: Iterator[Any], most_values: int, most_depth: int, most_chars: int) -> None:
    sizes: dict[str, int] = {}  # of what each anchor stands for, aliases included
    stack: list[tuple[str | None, int]] = []  # the anchor of each list and mapping that is open; how many came before
    count = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append((event.anchor, count))
            if len(stack) > most_depth:
                raise InputError(f"lists or mappings inside each other, more than {most_depth} deep")
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = stack.pop()
            if anchor is not None:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise InputError(f"the alias *{event.anchor} stands for nothing, or for what it is itself a part of")
            count += sizes[event.anchor]
        elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            count += 1
            if isinstance(event, yaml.ScalarEvent):
                if len(event.value) > most_chars:
                    raise InputError(f"a value of {len(event.value):,} characters; {most_chars:,} are the most")
                if event.anchor is not None:
                    sizes[event.anchor] = 1
        if count > most_values:
            raise InputError(f"more than {most_values:,} values, with aliases counted as often as they are used")


def _check_keys(root: Any) -> None:
    """Raise ConstructorError for a mapping that has a key twice."""
    seen: set[int] = set()  # nodes, which several aliases may share
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: set[tuple[str, str]] = set()
            for key, value in node.value:
                waiting += [key, value]
                if isinstance(key, yaml.ScalarNode):
                    if (key.tag, key.value) in keys:
                        raise yaml.constructor.ConstructorError(
                            None, None, f"the key {shown(key.value)} is there twice; remove one", key.start_mark
                        )
                    keys.add((key.tag, key.value))
