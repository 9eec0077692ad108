"""adalflow 1.1.3 on the pipeline: `Trainer` with its defaults ("constrained" search), 8 workers, one prompt a generator.

Two things are this script's: a table of tokens for `tiktoken`, which adalflow loads from the network when it is imported;
and a model client for chat completions, because its OpenAI client speaks the Responses API only. Its cache is on, as by
default, and starts empty.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers.setting import BATCH, KEY, STEPS, THREADS, Setting, load, right

_TEMPLATE = """<START_OF_SYSTEM_PROMPT>
{{task_desc_str}}
<END_OF_SYSTEM_PROMPT>
<START_OF_USER_PROMPT>
{{marker}}
{{input_str}}
<END_OF_USER_PROMPT>"""


class _Letters:
    """Stands in the place of a tokenizer: a token a letter. Adalflow's text search does not count tokens."""

    def encode(self, text: str, **_: Any) -> list[int]:
        return list(text.encode())


def main() -> None:
    setting = load()
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HOME=home, OPENAI_API_KEY=KEY)
        os.chdir(home)
        run(setting)


def run(setting: Setting) -> None:  # noqa: C901  its classes have to be made after adalflow is imported
    import tiktoken

    tiktoken.get_encoding = lambda _: _Letters()
    import adalflow as adal
    from adalflow.core.types import GeneratorOutput
    from openai import OpenAI

    class Chat(adal.ModelClient):
        """Chat completions, with the system part of a prompt as the system message."""

        def __init__(self) -> None:
            super().__init__()
            self._client = OpenAI(base_url=setting.base, api_key=KEY, max_retries=0)

        def convert_inputs_to_api_kwargs(self, **given: Any) -> Any:
            system, _, rest = str(given["input"]).partition("<END_OF_SYSTEM_PROMPT>")
            system = system.replace("<START_OF_SYSTEM_PROMPT>", "").strip()
            for tag in ("<START_OF_USER_PROMPT>", "<END_OF_USER_PROMPT>"):
                rest = rest.replace(tag, "")
            messages = [{"role": "system", "content": system}, {"role": "user", "content": rest.strip()}]
            return {**given["model_kwargs"], "messages": messages}

        def call(self, api_kwargs: Any = None, model_type: Any = None) -> Any:
            return self._client.chat.completions.create(**(api_kwargs or {}))

        def parse_chat_completion(self, completion: Any) -> Any:
            return GeneratorOutput(data=None, raw_response=completion.choices[0].message.content)

    chat = Chat()

    @dataclass
    class Sample(adal.DataClass):
        id: str = field(default="")
        question: str = field(default="")
        answer: str = field(default="")

    class Pipeline(adal.Component):
        """Three generators, one a node."""

        def __init__(self) -> None:
            super().__init__()
            for node in setting.nodes:
                prompt = adal.Parameter(
                    name=f"prompt_{node.name}",
                    data=node.prompt,
                    role_desc=f"The system prompt of the step '{node.name}' of a pipeline",
                    requires_opt=True,
                    param_type=adal.ParameterType.PROMPT,
                )
                generator = adal.Generator(
                    model_client=chat,
                    model_kwargs={"model": "worker"},
                    template=_TEMPLATE,
                    prompt_kwargs={"task_desc_str": prompt, "marker": node.marker},
                    use_cache=True,
                    name=node.name,
                )
                setattr(self, node.name, generator)

        def call(self, question: str, name: str) -> Any:
            output: Any = None
            for node in setting.nodes:
                text = question if output is None else output.data
                output = getattr(self, node.name).call(prompt_kwargs={"input_str": text}, id=name)
            return output

        def forward(self, question: str, name: str) -> Any:
            output: Any = None
            for node in setting.nodes:
                generator = getattr(self, node.name)
                if output is not None:
                    output.add_successor_map_fn(generator, lambda it: it.data.data)
                output = generator.forward(
                    prompt_kwargs={"input_str": output if output is not None else question}, id=name
                )
            return output

        def bicall(self, question: str, name: str) -> Any:
            return self.forward(question, name) if self.training else self.call(question, name)

    def grade(y: str, y_gt: str) -> float:
        return float(right(str(y), y_gt))

    class Task(adal.AdalComponent):
        def __init__(self) -> None:
            critic = {"model_client": chat, "model_kwargs": {"model": "critic"}}
            super().__init__(
                task=Pipeline(),
                eval_fn=grade,
                loss_fn=adal.EvalFnToTextLoss(eval_fn=grade, eval_fn_desc="1 if y is y_gt, else 0"),
                backward_engine_model_config=critic,
                text_optimizer_model_config=critic,
            )

        def prepare_task(self, sample: Any) -> Any:
            return self.task.bicall, {"question": sample.question, "name": sample.id}

        def prepare_eval(self, sample: Any, y_pred: Any) -> Any:
            return self.eval_fn, {"y": y_pred.data, "y_gt": sample.answer}

        def prepare_loss(self, sample: Any, pred: Any) -> Any:
            gold = adal.Parameter(name="y_gt", data=sample.answer, eval_input=sample.answer, requires_opt=False)
            pred.eval_input = pred.data.data
            return self.loss_fn, {"kwargs": {"y": pred, "y_gt": gold}, "id": sample.id, "gt": gold.eval_input}

    def samples(rows: Any) -> list[Sample]:
        return [Sample(it.id, it.question, it.answer) for it in rows]

    task = Task()
    trainer = adal.Trainer(adaltask=task, max_steps=STEPS, train_batch_size=BATCH, num_workers=THREADS)
    trainer.set_random_seed(setting.seed)
    setting.begin()
    trainer.fit(train_dataset=samples(setting.train), val_dataset=samples(setting.validation))
    texts = {
        node.name: str(getattr(task.task, node.name).prompt_kwargs["task_desc_str"].data) for node in setting.nodes
    }
    setting.finish("adalflow", "adalflow", texts)


if __name__ == "__main__":
    main()
