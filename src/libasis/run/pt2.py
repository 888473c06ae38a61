"""Models saved by ``torch.export.save``, opened without running anything that the file says.

``torch.export.load`` unpickles parts of an archive without restriction, loads compiled libraries in it, resolves
operators by attribute and evaluates size expressions as Python; ``ExportedProgram.module`` executes the guards written
in the file (so the module is made by ``torch.export.unflatten``, which does not). `check_archive` therefore reads the
archive first and refuses every file in which one of these could do more than describe a model. What remains: the
operators of the graph run with the arguments that the file gives, as with any model.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn
from torch.export.pt2_archive import PT2ArchiveReader

from ..errors import SourceError, StoreError, first_line, short
from ..files import DESCRIPTION, open_regular, parse_json

OPERATOR = re.compile(
    r"torch\.ops\.[A-Za-z]\w*\.(?!__init__|__class__)\w+(\.[A-Za-z]\w*)?"
    r"|_operator\.[a-z]+|math\.[a-z]\w*|torch\._?sym_\w+"
)
SYMBOL = re.compile(r"Symbol\('[a-z]+\d+'")
EXPRESSION = re.compile(r"[\w\s+\-*/%(),=<>!&|~.]*")
_WORDS = """
    Symbol Integer Float Rational Add Mul Pow Mod Max Min Abs Eq Ne Lt Le Gt Ge Equality Unequality LessThan
    GreaterThan StrictLessThan StrictGreaterThan And Or Not BooleanTrue BooleanFalse Piecewise ceiling floor
    FloorDiv ModularIndexing Where PythonMod CleanDiv CeilToInt FloorToInt CeilDiv LShift RShift PowByNatural
    FloatPow FloatTrueDiv IntTrueDiv Identity TruncToFloat TruncToInt RoundToInt RoundDecimal ToFloat
    IsNonOverlappingAndDenseIndicator
    True False true false positive negative nonnegative nonzero integer real finite evaluate precision oo int_oo
"""
WORDS = frozenset(_WORDS.split())


def open_pt2(path: Path) -> nn.Module:
    """The model of an exported program, with its module names, in eval mode.

    Raises:
        SourceError: the file is no exported program, could run code when opened, was exported in training mode or
            with a fixed batch size.
    """
    check_archive(path)
    try:
        with _quiet():
            program = torch.export.load(path)
            module = torch.export.unflatten(program)
    except Exception as error:
        raise SourceError(
            f"{path} cannot be opened as an exported program: {first_line(error)}; save it with torch.export.save of "
            f"torch {torch.__version__}."
        ) from error
    _check_program(path, program)
    for part in module.modules():
        part.training = False
    _name_inputs(module, program)
    return module


def check_archive(path: Path) -> None:
    """Refuse an archive of which opening could run code.

    Raises:
        SourceError: says what was found.
    """
    try:
        with open_regular(path, refusal=SourceError) as file:
            if found := _find_packed(file):
                raise SourceError(f"{path} holds {found}, which torch.export.save never writes; save the model again.")
            legacy = "version" in zipfile.ZipFile(file).namelist()
            found = "the pickled format of torch 2.7 and older" if legacy else _find_danger(PT2ArchiveReader(str(path)))
    except SourceError:
        raise
    except StoreError as error:
        raise SourceError(f"{path}: {str(error)[:-1]}; save the model again with torch.export.save.") from None
    except Exception as error:
        raise SourceError(f"{path} is not a file of torch.export.save: {first_line(error)}.") from error
    if found:
        raise SourceError(
            f"{path} holds {found}; libasis opens no file that could run code: give the model as "
            '"package.module:factory" if you trust it.'
        )


def _find_packed(file: IO[bytes]) -> str | None:
    """Whether members of an archive are more than its bytes (packed, or one inside another), or too many to read."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    if sum(member.file_size for member in members) > file.seek(0, io.SEEK_END):
        return "packed parts"
    large = [m.filename for m in members if m.filename.endswith(".json") and m.file_size > DESCRIPTION]
    return f"{short(large[0])} of more than {DESCRIPTION:,} bytes" if large else None


def _find_danger(reader: PT2ArchiveReader) -> str | None:
    for name in reader.get_file_names():
        if name.startswith("data/aotinductor"):
            return "compiled code (AOTInductor)"
        if name.startswith(("data/weights/", "data/constants/")):
            found = _danger_in_tensors(reader, name)
        elif name.startswith("data/sample_inputs/"):
            found = _danger_in_pickle(reader.read_bytes(name))
        elif name.startswith("models/"):
            found = _danger_in_graph(parse_json(reader.read_bytes(name), name))
        else:
            found = None
        if found:
            return found
    return None


def _danger_in_tensors(reader: PT2ArchiveReader, name: str) -> str | None:
    if name.endswith(".pt"):
        return f"a pickled part ({name})"
    if not name.endswith(".json"):
        return None
    for key, item in parse_json(reader.read_bytes(name), name).get("config", {}).items():
        plain = item.get("path_name", "").startswith(("weight_", "tensor_"))
        if item.get("use_pickle") is not False or not plain:
            return f"a pickled part ({key})"
    return None


def _danger_in_pickle(data: bytes) -> str | None:
    """torch.load with weights_only builds tensors and plain containers, and nothing else."""
    try:
        if data and _find_packed(io.BytesIO(data)):
            return "packed sample inputs"
        if data:
            torch.load(io.BytesIO(data), weights_only=True)
    except Exception:
        return "sample inputs that are no plain tensors"
    return None


def _danger_in_graph(model: dict[str, Any]) -> str | None:
    for key, value in _walk(model):
        if key == "target" and not OPERATOR.fullmatch(value):
            return f"the operator {short(value)}"
        if key == "expr_str" and not _is_plain_expression(value):
            return f"the size expression {short(value)}"
        if key in ("in_spec", "out_spec") and re.search(r"__enum__|default_factory|\\u", value):
            return f"an input or output structure that names Python objects ({key})"
    return None


def _walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _walk(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, key)
    else:
        yield key, value


def _is_plain_expression(text: Any) -> bool:
    rest = SYMBOL.sub("Symbol(", text)
    words = re.findall(r"[A-Za-z_]\w*", rest)
    methods = re.search(r"[A-Za-z_)]\s*\.", rest)
    known = all(word in WORDS or re.fullmatch(r"[a-z]{1,2}\d+", word) for word in words)
    return known and not methods and EXPRESSION.fullmatch(rest) is not None


def _check_program(path: Path, program: Any) -> None:
    for node in program.graph.nodes:
        name = str(node.target)
        training = "dropout" in name and len(node.args) > 2 and node.args[2] is True and node.args[1]
        training = training or (name == "aten.batch_norm.default" and node.args[5] is True)
        if training:
            raise SourceError(
                f"{path} was exported in training mode ({name} is random or follows the batch); call model.eval() and "
                "export it again."
            )
    inputs = [n for n in program.graph.nodes if n.name in program.graph_signature.user_inputs]
    shapes = [n.meta["val"].shape for n in inputs if isinstance(n.meta.get("val"), Tensor)]
    sizes = [shape[0] for shape in shapes if len(shape)]
    if sizes and all(isinstance(size, int) for size in sizes):
        raise SourceError(
            f"{path} was exported for batches of exactly {sizes[0]}, but libasis needs any batch size; export it again "
            "with dynamic_shapes that leave dimension 0 of the inputs open, such as {0: torch.export.Dim.DYNAMIC}."
        )


def _name_inputs(module: nn.Module, program: Any) -> None:
    """Give forward its original parameters back, so that inputs can be read and passed by name."""
    signature = program.module_call_graph[0].signature
    spec = signature.in_spec
    positional, by_name = spec.children() if hasattr(spec, "children") else spec.children_specs
    keys = list(by_name.context or [])
    names = list(signature.forward_arg_names or [])
    count = positional.num_children
    if len(names) != count + len(keys):
        names = [f"input{i}" for i in range(count)] + keys
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    original = type(module).forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        bound = forward.__signature__.bind(*args, **kwargs).arguments  # pyright: ignore
        values = [bound[name] for name in names]
        return original(module, *values[:count], **dict(zip(names[count:], values[count:], strict=True)))

    forward.__signature__ = inspect.Signature(parameters)  # pyright: ignore
    module.forward = forward


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and log lines about the inside of torch.export."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
