"""How every command reads its options: dataclasses to options and their help, by tyro.

What tyro shows as `{None}|PATH` and `(default: None)` is a `PATH` that need not be given, and its
default is `none`, or what the option's own text says.
"""

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache, partial
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import (
    MISSING_NONPROP,
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
    UnsupportedTypeAnnotationError,
)

T = TypeVar("T")
_NONE = "none"
_REGISTRY = ConstructorRegistry()


def read_options(kind: type[T], prog: str, arguments: Sequence[str], **more: Any) -> T:
    """Return the options of a command line.

    Args:
        kind: A dataclass.
        prog: How the command is called, such as `roadsense evaluate`.
        arguments: What follows on the command line.
        **more: For `tyro.cli`.

    Raises:
        SystemExit: 2 for a wrong option, 0 after `--help`; what to say is printed.
    """
    read = tyro.cli(kind, prog=prog, args=list(arguments), registry=_REGISTRY, **more)
    return cast("T", read)


def read_subcommand(kinds: Mapping[str, type], prog: str, arguments: Sequence[str]) -> Any:
    """Return the options of one of several subcommands, by their names; as `read_options`."""
    return tyro.extras.subcommand_cli_from_dict(
        dict(kinds), prog=prog, args=list(arguments), registry=_REGISTRY
    )


@_REGISTRY.primitive_rule
def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Read `X | None` as an X, and `none` as None where an X is one word."""
    kinds = get_args(info.type) if get_origin(info.type) in {Union, UnionType} else ()
    rest = [kind for kind in kinds if kind is not NoneType]
    if len(kinds) != 2 or len(rest) != 1:  # noqa: PLR2004 (X and None)
        return None
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(rest[0], info.markers))
    if isinstance(spec, UnsupportedTypeAnnotationError):
        return None

    def read(words: list[str]) -> Any:
        is_none = spec.nargs == 1 and words[0].lower() == _NONE
        return None if is_none else spec.instance_from_str(words)

    return replace(
        spec,
        instance_from_str=read,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: [_NONE] if value is None else spec.str_from_instance(value),
        choices=None if spec.choices is None else (*spec.choices, _NONE),
    )


@_REGISTRY.struct_rule
def _dataclass(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Read a dataclass: an option per field, explained by the string below it."""
    if not is_dataclass(info.type) or info.type.__module__.startswith("tyro."):
        return None
    kind = cast("type", info.type)
    texts, hints = _texts(kind), get_type_hints(kind, include_extras=True)
    options = []
    for field in fields(kind):
        default = getattr(info.default, field.name, field.default)
        if default is MISSING and field.default_factory is not MISSING:
            default = field.default_factory()
        default = MISSING_NONPROP if default is MISSING else default
        annotated: Any = hints[field.name]
        own = [one for one in get_args(annotated)[1:] if getattr(one, "help", None)]
        text = own[-1].help if own else texts.get(field.name)
        if not is_dataclass(default):
            hint = partial(_hint, default, text or "")
            annotated = Annotated[annotated, _shown(text, hint, annotated)]
        options.append(StructFieldSpec(field.name, annotated, default, text))
    return StructConstructorSpec(kind, tuple(options))


def _shown(text: str | None, hint: Callable[[str], str], kind: Any) -> Any:
    """Return how an option is shown: its text in one paragraph, and many values as `X ...`."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    rest = [one for one in get_args(kind) if one is not NoneType]
    if get_origin(kind) in {Union, UnionType} and len(rest) == 1:
        kind = rest[0]
    metavar = None
    if get_origin(kind) is tuple and get_args(kind)[-1] is ...:
        spec = ConstructorRegistry.get_primitive_spec(
            PrimitiveTypeInfo.make(get_args(kind)[0], set())
        )
        metavar = (
            None if isinstance(spec, UnsupportedTypeAnnotationError) else f"[{spec.metavar} ...]"
        )
    return tyro.conf.arg(
        help=None if text is None else " ".join(text.split()),
        help_behavior_hint=hint,
        metavar=metavar,
    )


def _hint(default: Any, text: str, label: str) -> str:
    """Return what stands behind an option's text: its default, where the text does not say it."""
    if default is MISSING_NONPROP:
        return "(required)"
    if default is None or default in ((), ""):
        return "" if "default" in text else f"(default: {_NONE})"
    return f"(default: {label})"


@cache
def _texts(kind: type) -> dict[str, str]:
    """Return the string below each field of a dataclass and of those that it derives from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not is_dataclass(base):
            continue
        try:
            (tree,) = ast.parse(inspect.cleandoc(inspect.getsource(base))).body
        except (OSError, TypeError):  # made at run time: its fields carry their own texts
            continue
        body = cast("ast.ClassDef", tree).body
        for field, below in pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[field.target.id] = str(below.value.value)
    return found
