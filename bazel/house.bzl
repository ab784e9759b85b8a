"""One macro a kind of target, as in the root CMakeLists.txt, so that root.BUILD reads like it."""

# The warnings are CMake's, but here they stay warnings: Bazel's own flags (_FORTIFY_SOURCE) bring some that are none there.
_COPTS = ["-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Wno-unused-result", "-fno-strict-aliasing"]
_DEFINES = ["_GNU_SOURCE", 'GANTRY_VERSION=\\"0.1.0\\"']

def gantry_library(name, folders, deps = [], exclude = []):
    """The library of the files in `folders` (not in their subfolders)."""
    native.cc_library(
        name = name,
        srcs = native.glob([f + "/*.cc" for f in folders], exclude = [f + "/*_test.cc" for f in folders] + exclude),
        hdrs = native.glob([f + "/*.h" for f in folders]),
        copts = _COPTS,
        local_defines = _DEFINES,
        deps = deps,
    )

def gantry_generated_library(name, srcs, deps = []):
    """The library of what lite_proto made: not ours to warn about. Google's own headers come before the system's."""
    native.cc_library(
        name = name,
        srcs = srcs,
        copts = ["-O1", "-w"],
        includes = ["lite"],
        deps = deps,
    )

def gantry_test(name, srcs, deps):
    native.cc_test(
        name = name,
        size = "small",
        srcs = srcs,
        copts = _COPTS,
        local_defines = _DEFINES,
        deps = deps + ["@system//:gtest_main"],
    )

def gantry_static_program(name, srcs, deps):
    native.cc_binary(
        name = name,
        srcs = srcs,
        copts = _COPTS,
        features = ["fully_static_link"],
        linkopts = ["-static"],
        linkstatic = True,
        local_defines = _DEFINES,
        deps = deps,
    )

def _lite_proto_impl(ctx):
    """C++ of .proto files for the LITE runtime: ours at their own path, google's below lite/."""
    outs = []
    for src in ctx.files.srcs:
        path = src.short_path
        root, prefix = ".", ""
        at = path.find("include/google/")
        if at >= 0:
            path = path[at + len("include/"):]
            root, prefix = "/usr/include", "lite/"
        stem = prefix + path[:-len(".proto")]
        header = ctx.actions.declare_file(stem + ".pb.h")
        code = ctx.actions.declare_file(stem + ".pb.cc")
        target = header.path[:-len(path[:-len(".proto")] + ".pb.h")]
        ctx.actions.run_shell(
            inputs = ctx.files.srcs,
            outputs = [header, code],
            command = "/usr/bin/protoc -I%s --cpp_out=lite:%s %s" % (root, target, path),
        )
        outs += [header, code]
    return [DefaultInfo(files = depset(outs))]

lite_proto = rule(
    implementation = _lite_proto_impl,
    attrs = {"srcs": attr.label_list(allow_files = [".proto"])},
)
