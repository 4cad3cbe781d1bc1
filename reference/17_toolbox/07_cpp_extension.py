"""A loop in C++ sees memory, not a tensor: reference.

Hint: Two things must be settled before the first value is read: how the values lie in memory, and how large one is.
Hint: C++: `TORCH_CHECK`, `contiguous`, `numel`, `AT_DISPATCH_FLOATING_TYPES`, `data_ptr<scalar_t>`. Python:
    `load_inline` with `functions` and `build_directory`.
Hint: Check the dtype. Make the tensor contiguous, under a name of its own, so that it lives as long as the pointer.
    Then, inside the dispatch, walk a pointer from 0 to numel and add up the comparisons.

Why: numel counts all values of any shape, also of no dimension (1) and of an empty one (0), and contiguous() costs
nothing where the values lie in a row already. The dispatch macro compiles its braces twice and picks one at run time by
the dtype. A double that is compared with a float makes the float a double, so that nothing is rounded.
"""

from pathlib import Path
from types import ModuleType

from dojo import Mistake


def cpp_source() -> str:
    return """
        int64_t count_above(torch::Tensor x, double limit) {
            const auto dtype = x.scalar_type();
            TORCH_CHECK(dtype == torch::kFloat32 || dtype == torch::kFloat64, "float32 or float64, not ", dtype);
            const auto dense = x.contiguous();
            int64_t count = 0;
            AT_DISPATCH_FLOATING_TYPES(dtype, "count_above", [&] {
                const auto* value = dense.const_data_ptr<scalar_t>();
                for (int64_t i = 0; i < dense.numel(); i++) count += value[i] > limit;
            });
            return count;
        }
    """


def build(source: str, folder: Path) -> ModuleType:
    from torch.utils.cpp_extension import load_inline

    return load_inline("count_above", [source], functions=["count_above"], build_directory=str(folder))


# ── known mistakes: all of them in one source, since a build takes half a minute; NAME becomes each one's name ──

_CHECK = 'TORCH_CHECK(x.is_floating_point(), "floats only");'
_DENSE = "x = x.contiguous();"
_LOOP = """
    int64_t count = 0;
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "count_above", [&] {
        auto* p = x.data_ptr<scalar_t>();
        for (int64_t i = 0; i < x.numel(); i++) count += p[i] > limit;
    });
    return count;
"""
_LOOP_IN_DOUBLE = """
    auto* p = x.data_ptr<double>();
    int64_t count = 0;
    for (int64_t i = 0; i < x.numel(); i++) count += p[i] > limit;
    return count;
"""


def _cpp(*body, replace=("", ""), result="int64_t", limit="double limit"):
    text = " ".join(body)
    return f"{result} NAME(torch::Tensor x, {limit}) {{ {text.replace(*replace) if replace[0] else text} }}"


_WRONG = {
    "strides_forgotten": _cpp(_LOOP),
    "converted_only": _cpp(_CHECK, "x = x.to(torch::kFloat64);", _LOOP_IN_DOUBLE),
    "stride_of_a_vector": _cpp(_LOOP, replace=("p[i]", "p[x.dim() == 1 ? i * x.stride(0) : i]")),
    "viewed": _cpp(
        _CHECK,
        "auto p = x.to(torch::kFloat64).view({-1}); auto a = p.accessor<double, 1>();",
        "int64_t count = 0; for (int64_t i = 0; i < a.size(0); i++) count += a[i] > limit; return count;",
    ),
    "size_0": _cpp(_DENSE, _LOOP, replace=("x.numel()", "x.size(0)")),
    "rows_and_columns": _cpp(
        _DENSE, "if (x.dim() == 1) x = x.unsqueeze(0);", _LOOP, replace=("x.numel()", "x.size(0) * x.size(1)")
    ),
    "accessor_of_1": _cpp(
        _CHECK,
        "x = x.to(torch::kFloat64); auto p = x.accessor<double, 1>();",
        "int64_t count = 0; for (int64_t i = 0; i < p.size(0); i++) count += p[i] > limit; return count;",
    ),
    "one_short": _cpp(_DENSE, _LOOP, replace=("x.numel()", "x.numel() - 1")),
    "or_equal": _cpp(_DENSE, _LOOP, replace=("p[i] >", "p[i] >=")),
    "below": _cpp(_DENSE, _LOOP, replace=("p[i] >", "p[i] <")),
    "not_at_most": _cpp(_DENSE, _LOOP, replace=("p[i] > limit", "!(p[i] <= limit)")),
    "counts_on": _cpp(_DENSE, _LOOP, replace=("int64_t count", "static int64_t count")),
    "float_only": _cpp(_DENSE, _LOOP_IN_DOUBLE, replace=("<double>", "<float>")),
    "through_float": _cpp(
        _CHECK, "x = x.to(torch::kFloat32).contiguous();", _LOOP_IN_DOUBLE, replace=("<double>", "<float>")
    ),
    "float_limit": _cpp("const float limit = given;", _DENSE, _LOOP, limit="double given"),
    "everything_to_double": _cpp("x = x.to(torch::kFloat64).contiguous();", _LOOP_IN_DOUBLE),
    "all_types": _cpp(_DENSE, _LOOP, replace=("FLOATING_TYPES", "ALL_TYPES")),
    "halves_too": _cpp(_CHECK, _DENSE, _LOOP, replace=("TYPES(", "TYPES_AND(at::kHalf, ")),
    "bfloat16_too": _cpp(_DENSE, _LOOP, replace=("TYPES(", "TYPES_AND(at::kBFloat16, ")),
    "returns_double": _cpp(_DENSE, _LOOP, result="double"),
    "returns_tensor": _cpp(_CHECK, "return (x > limit).sum();", result="torch::Tensor"),
    "whole_limit": _cpp(_DENSE, _LOOP, limit="int64_t limit"),
    "sorts": _cpp(
        _DENSE,
        _LOOP,
        replace=(
            "for (int64_t i = 0; i < x.numel(); i++) count += p[i] > limit;",
            """
            std::sort(p, p + x.numel(), [&](scalar_t a, scalar_t b) { return a > limit && !(b > limit); });
            while (count < x.numel() && p[count] > limit) count++;
            """,
        ),
    ),
}


def _cpp_of_all() -> str:
    return "#include <algorithm>\n" + "\n".join(text.replace("NAME", name) for name, text in _WRONG.items())


_modules = []


def _build_all(source, folder):
    """The module with all of them, compiled once."""
    from torch.utils.cpp_extension import load_inline

    (folder / "here").touch()
    if not _modules:
        _modules.append(load_inline("count_above", source, functions=list(_WRONG), build_directory=str(folder)))
    return _modules[0]


def _wrong(name):
    def build_one(source, folder):
        module = ModuleType(name)
        module.count_above = getattr(_build_all(source, folder), name)
        return module

    return {"cpp_source": _cpp_of_all, "build": build_one}


def _module_of(count_above, mark=True):
    """A build that takes no time."""

    def build_one(source, folder):
        if mark:
            (folder / "here").touch()
        module = ModuleType("count_above")
        module.count_above = count_above
        return module

    return build_one


def _in_python(x, limit):
    if not x.is_floating_point():
        raise TypeError("floats only")
    return int((x > limit).sum())


def _nothing_bound(source, folder):
    return ModuleType("count_above")


def _refused(source, folder):
    raise RuntimeError(
        "Error building extension 'count_above'\nmain.cpp:3:1: error: expected ';' before 'return'\n  3 |"
    )


def _no_folder(source, folder):
    raise FileNotFoundError(2, "No such file or directory", str(folder / "count_above.cpp"))


_COUNTS = "test_a_loop_in_cpp_counts_what_a_comparison_does"
_SHAPES = "test_a_tensor_has_any_number_of_dimensions"
_STRIDES = "test_a_pointer_knows_nothing_of_strides"
_PRECISE = "test_float64_is_compared_as_float64"
_REFUSED = "test_a_dtype_without_a_loop_is_refused"
_WRITES = "test_a_pointer_could_write_and_must_not"

_WALKED = "the pointer walked on to the next values in memory"

MISTAKES = [
    Mistake("a value is not above itself", caught_by=_COUNTS, **_wrong("or_equal")),
    Mistake("are above 2.0, and count_above says", caught_by=_COUNTS, **_wrong("one_short")),
    Mistake("are above 2.0, and count_above says", caught_by=_COUNTS, **_wrong("below")),
    Mistake("are above 2.0, and count_above says", caught_by=_COUNTS, **_wrong("not_at_most")),
    Mistake("are above 2.0, and count_above says", caught_by=_COUNTS, **_wrong("counts_on")),
    Mistake("data_ptr<float> is for float32 alone", caught_by=_COUNTS, **_wrong("float_only")),
    Mistake("a Python int, as an int64_t does; got float", caught_by=_COUNTS, **_wrong("returns_double")),
    Mistake("a Python int, as an int64_t does; got Tensor", caught_by=_COUNTS, **_wrong("returns_tensor")),
    Mistake("count_above takes a tensor and a double", caught_by=_COUNTS, **_wrong("whole_limit")),
    Mistake("of a tensor of shape", caught_by=_SHAPES, **_wrong("size_0")),
    Mistake("of a tensor of shape", caught_by=_SHAPES, **_wrong("rows_and_columns")),
    Mistake("for tensors of one number of dimensions only", caught_by=_SHAPES, **_wrong("accessor_of_1")),
    Mistake(_WALKED, caught_by=_STRIDES, **_wrong("strides_forgotten")),
    Mistake(_WALKED, caught_by=_STRIDES, **_wrong("converted_only")),
    Mistake(_WALKED, caught_by=_STRIDES, **_wrong("stride_of_a_vector")),
    Mistake("view refuses a tensor that is not contiguous", caught_by=_STRIDES, **_wrong("viewed")),
    Mistake("as float32 they are equal", caught_by=_PRECISE, **_wrong("through_float")),
    Mistake("as float32 they are equal", caught_by=_PRECISE, **_wrong("float_limit")),
    Mistake("count_above must refuse torch.int64", caught_by=_REFUSED, **_wrong("everything_to_double")),
    Mistake("count_above must refuse torch.int64", caught_by=_REFUSED, **_wrong("all_types")),
    Mistake("count_above must refuse torch.float16", caught_by=_REFUSED, **_wrong("halves_too")),
    Mistake("count_above must refuse torch.bfloat16", caught_by=_REFUSED, **_wrong("bfloat16_too")),
    Mistake("count_above wrote into its tensor", caught_by=_WRITES, **_wrong("sorts")),
    Mistake("returns the text of the C++, got list", caught_by=_COUNTS, cpp_source=lambda: [cpp_source()]),
    Mistake("build returns the module, got NoneType", caught_by=_COUNTS, build=lambda source, folder: None),
    Mistake("build returns the module, got function", caught_by=_COUNTS, build=lambda source, folder: _in_python),
    Mistake("the module has no count_above", caught_by=_COUNTS, build=_nothing_bound),
    Mistake("build left its folder empty", caught_by=_COUNTS, build=_module_of(_in_python, mark=False)),
    Mistake("the C++ compiler refuses the source", caught_by=_COUNTS, build=_refused),
    Mistake("build raised", caught_by=_COUNTS, build=_no_folder),
]
