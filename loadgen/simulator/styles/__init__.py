"""THE table of styles: how the servers that the simulator can play spell their answers, one file each."""

from loadgen.simulator.styles import llama_cpp, llama_cpp_python, mii, tensorrt_llm, transformers, vllm
from loadgen.simulator.styles.style import Style

STYLES: dict[str, Style] = {
    style.name: style
    for style in (
        vllm.STYLE,
        llama_cpp.STYLE,
        llama_cpp_python.STYLE,
        transformers.STYLE,
        mii.STYLE,
        tensorrt_llm.STYLE,
    )
}
