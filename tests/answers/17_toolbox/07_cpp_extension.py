"""Answers that people give to cpp_extension, right ones and wrong ones; many in one source, since a build is dear."""

from types import ModuleType

from dojo import Mistake

_RIGHT = {
    "one_liner": """int64_t NAME(const at::Tensor& x, double limit) {
        TORCH_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble, "float32 or float64");
        return x.gt(limit).sum().item<int64_t>();
    }""",
    "everything_to_double": """int64_t NAME(torch::Tensor x, double limit) {
        if (x.dtype() != torch::kFloat && x.dtype() != torch::kDouble) throw std::invalid_argument("floats only");
        auto y = x.to(torch::kDouble).contiguous();
        auto p = y.data_ptr<double>();
        return std::count_if(p, p + y.numel(), [limit](double v) { return v > limit; });
    }""",
    "flattened": """int64_t NAME(torch::Tensor x, double limit) {
        auto y = x.detach().reshape({-1}).contiguous();
        int64_t n = 0;
        if (y.scalar_type() == at::kFloat) {
            auto a = y.accessor<float, 1>();
            for (int64_t i = 0; i < a.size(0); ++i) if (a[i] > limit) ++n;
        } else if (y.scalar_type() == at::kDouble) {
            auto a = y.accessor<double, 1>();
            for (int64_t i = 0; i < a.size(0); ++i) if (a[i] > limit) ++n;
        } else {
            TORCH_CHECK(false, "unsupported dtype ", y.scalar_type());
        }
        return n;
    }""",
    "only_the_dispatch_refuses": """int64_t NAME(torch::Tensor x, double limit) {
        auto y = x.contiguous();
        int64_t n = 0;
        AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "NAME", ([&] {
            const scalar_t* p = y.data_ptr<scalar_t>();
            const scalar_t bound = static_cast<scalar_t>(limit);
            for (const scalar_t* q = p; q != p + y.numel(); ++q) n += (*q > bound) ? 1 : 0;
        }));
        return n;
    }""",
    "by_strides": """template <typename T>
    int64_t walk_NAME(const T* p, const torch::Tensor& x, int64_t dim, double limit) {
        if (dim == x.dim()) return *p > limit;
        int64_t n = 0;
        for (int64_t i = 0; i < x.size(dim); i++) n += walk_NAME(p + i * x.stride(dim), x, dim + 1, limit);
        return n;
    }
    int64_t NAME(torch::Tensor x, double limit) {
        if (x.scalar_type() == torch::kFloat) return walk_NAME(x.data_ptr<float>(), x, 0, limit);
        return walk_NAME(x.data_ptr<double>(), x, 0, limit);
    }""",
}

_CHECK = 'TORCH_CHECK(x.is_floating_point(), "floats only");'

_WRONG = {
    "no_contiguous": """int64_t NAME(torch::Tensor x, double limit) {
        int64_t n = 0;
        if (x.scalar_type() == torch::kFloat) {
            for (int64_t i = 0; i < x.numel(); i++) n += x.data_ptr<float>()[i] > limit;
        } else {
            for (int64_t i = 0; i < x.numel(); i++) n += x.data_ptr<double>()[i] > limit;
        }
        return n;
    }""",
    "contiguous_thrown_away": """int64_t NAME(torch::Tensor x, double limit) {
        x.contiguous();
        int64_t n = 0;
        AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "NAME", [&] {
            for (int64_t i = 0; i < x.numel(); i++) n += x.data_ptr<scalar_t>()[i] > limit;
        });
        return n;
    }""",
    "only_transposes": """int64_t NAME(torch::Tensor x, double limit) {
        if (x.scalar_type() == torch::kFloat) x = x.contiguous();
        int64_t n = 0;
        AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "NAME", [&] {
            for (int64_t i = 0; i < x.numel(); i++) n += x.data_ptr<scalar_t>()[i] > limit;
        });
        return n;
    }""",
    "rows": """int64_t NAME(torch::Tensor x, double limit) {
        TORCH_CHECK(x.is_floating_point(), "floats only");
        int64_t n = 0;
        for (int64_t i = 0; i < x.size(0); i++) n += x[i].max().item<double>() > limit;
        return n;
    }""",
    "matrix": """int64_t NAME(torch::Tensor x, double limit) {
        auto y = x.to(torch::kDouble);
        auto a = y.accessor<double, 2>();
        int64_t n = 0;
        for (int64_t i = 0; i < a.size(0); i++) for (int64_t j = 0; j < a.size(1); j++) n += a[i][j] > limit;
        return n;
    }""",
    "at_least": """int64_t NAME(torch::Tensor x, double limit) {
        TORCH_CHECK(x.is_floating_point(), "floats only");
        return x.ge(limit).sum().item<int64_t>();
    }""",
    "sum_above": """int64_t NAME(torch::Tensor x, double limit) {
        TORCH_CHECK(x.is_floating_point(), "floats only");
        return x.sum().item<double>() > limit;
    }""",
    "float_bound": """int64_t NAME(torch::Tensor x, float limit) {
        TORCH_CHECK(x.is_floating_point(), "floats only");
        return x.gt(limit).sum().item<int64_t>();
    }""",
    "as_float": """int64_t NAME(torch::Tensor x, double limit) {
        TORCH_CHECK(x.is_floating_point(), "floats only");
        return x.to(torch::kFloat).gt(limit).sum().item<int64_t>();
    }""",
    "any_dtype": "int64_t NAME(torch::Tensor x, double limit) { return x.gt(limit).sum().item<int64_t>(); }",
    "any_float": """int64_t NAME(torch::Tensor x, double limit) {
        TORCH_CHECK(x.is_floating_point(), "floats only");
        return x.gt(limit).sum().item<int64_t>();
    }""",
    "marks_in_place": """int64_t NAME(torch::Tensor x, double limit) {
        auto y = x.contiguous();
        int64_t n = 0;
        AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "NAME", [&] {
            auto* p = y.data_ptr<scalar_t>();
            for (int64_t i = 0; i < y.numel(); i++) n += (p[i] = p[i] > limit) != 0;
        });
        return n;
    }""",
    "float_or_double_else_zero": """int64_t NAME(torch::Tensor x, double limit) {
        return x.is_floating_point() ? x.gt(limit).sum().item<int64_t>() : 0;
    }""",
    "clamps": """int64_t NAME(torch::Tensor x, double limit) {
        TORCH_CHECK(x.is_floating_point(), "floats only");
        auto n = x.gt(limit).sum().item<int64_t>();
        auto y = x.detach().contiguous();
        y.clamp_max_(limit);
        return n;
    }""",
    "gives_float": """float NAME(torch::Tensor x, double limit) {
        TORCH_CHECK(x.is_floating_point(), "floats only");
        return x.gt(limit).sum().item<float>();
    }""",
    "gives_tensor": """at::Tensor NAME(torch::Tensor x, double limit) {
        TORCH_CHECK(x.is_floating_point(), "floats only");
        return x.gt(limit).sum();
    }""",
    "float_pointer": """int64_t NAME(torch::Tensor x, double limit) {
        auto y = x.contiguous();
        auto p = y.data_ptr<float>();
        return std::count_if(p, p + y.numel(), [limit](float v) { return v > limit; });
    }""",
}

_modules = []


def _source_of_all():
    texts = {f"{kind}_{name}": text for kind, all in (("r", _RIGHT), ("w", _WRONG)) for name, text in all.items()}
    return "\n".join(text.replace("NAME", name) for name, text in texts.items())


def _compiled(source, folder):
    from torch.utils.cpp_extension import load_inline

    (folder / "here").touch()
    if not _modules:
        names = [f"{kind}_{name}" for kind, all in (("r", _RIGHT), ("w", _WRONG)) for name in all]
        _modules.append(load_inline("answers", [source], functions=names, build_directory=str(folder)))
    return _modules[0]


def _one(name):
    def build(source, folder):
        module = ModuleType(name)
        module.count_above = getattr(_compiled(source, folder), name)
        return module

    return {"cpp_source": _source_of_all, "build": build}


def _whole_file():
    """The binding is written by hand."""
    return """
        #include <torch/extension.h>

        static int64_t count(const torch::Tensor& x, const double limit) {
            TORCH_CHECK_TYPE(x.dtype() == torch::kFloat32 || x.dtype() == torch::kFloat64, "float32 or float64");
            return (x > limit).sum().item().toLong();
        }

        PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("count_above", &count, "values above a limit"); }
    """


def _from_a_file(source, folder):
    from torch.utils.cpp_extension import load

    file = folder / "count_above.cpp"
    file.write_text(source)
    return load(name="count_above", sources=[str(file)], build_directory=str(folder), extra_cflags=["-O0"])


RIGHT = [
    {"cpp_source": _whole_file, "build": _from_a_file},
    *(_one(f"r_{name}") for name in _RIGHT),
]


def _python(x, limit):
    return int((x > limit).sum()) if x.is_floating_point() else int("no floats")


def _in_the_cache_folder(source, folder):
    module = ModuleType("count_above")
    module.count_above = lambda x, limit: _python(x, limit)
    return module


def _name_only(source, folder):
    module = ModuleType("count_above")
    module.count = _python
    return module


def _forgets_to_return(source, folder):
    _in_the_cache_folder(source, folder)


def _function(source, folder):
    return _in_the_cache_folder(source, folder).count_above


_SAYS = {
    "no_contiguous": "the pointer walked on to the next values in memory",
    "contiguous_thrown_away": "the pointer walked on to the next values in memory",
    "only_transposes": "the pointer walked on to the next values in memory",
    "rows": "of a tensor of shape",
    "matrix": "for tensors of one number of dimensions only",
    "at_least": "a value is not above itself",
    "sum_above": "are above 2.0, and count_above says",
    "float_bound": "as float32 they are equal",
    "as_float": "as float32 they are equal",
    "any_dtype": "count_above must refuse torch.int64",
    "any_float": "count_above must refuse torch.float16",
    "marks_in_place": "count_above wrote into its tensor",
    "float_or_double_else_zero": "count_above must refuse torch.int64",
    "clamps": "count_above wrote into its tensor",
    "gives_float": "a Python int, as an int64_t does; got float",
    "gives_tensor": "a Python int, as an int64_t does; got Tensor",
    "float_pointer": "data_ptr<float> is for float32 alone",
}

WRONG = [
    *(Mistake(says, caught_by="", **_one(f"w_{name}")) for name, says in _SAYS.items()),
    Mistake("build left its folder empty", caught_by="", build=_in_the_cache_folder),
    Mistake("the module has no count_above", caught_by="", build=_name_only),
    Mistake("build returns the module, got NoneType", caught_by="", build=_forgets_to_return),
    Mistake("build returns the module, got function", caught_by="", build=_function),
]
