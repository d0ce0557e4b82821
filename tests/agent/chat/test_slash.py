"""Slash commands: what is typed becomes a directive without a model, or one sentence that says what is wrong."""

import pytest

from agent.chat.slash import SLASH, SLASH_HELP, Command, complete, parse_slash
from diffusion.errors import UserError
from diffusion.space import built_in
from diffusion.spec import PAPER_PARAMETERS, UNetSpec
from tools.gates.directive_kinds import KINDS, arguments_of
from tools.gates.limits import DirectiveKind

SPEC = "b8-n1-m1.1.1.1-a0000"
FORMS = {
    "/freeze attn_0=0": ("freeze", {"parameter": "attn_0", "value": 0}),
    "/limit base_channel<=16": ("restrict", {"parameter": "base_channel", "values": [8, 16]}),
    "/limit base_channel < 16": ("restrict", {"parameter": "base_channel", "values": [8]}),
    "/limit mult_1>=3": ("restrict", {"parameter": "mult_1", "values": [3, 4]}),
    "/limit mult_1>3": ("restrict", {"parameter": "mult_1", "values": [4]}),
    "/limit num_blocks=1,3": ("restrict", {"parameter": "num_blocks", "values": [1, 3]}),
    "/cap params 40M": ("cap", {"what": "params", "at_most": 40e6}),
    "/cap macs 4G": ("cap", {"what": "macs_total", "at_most": 4e9}),
    "/cap macs_paper 4G": ("cap", {"what": "macs_paper", "at_most": 4e9}),
    "/cap memory 2G": ("cap", {"what": "memory_bytes", "at_most": 2e9}),
    "/cap latency 2.5ms": ("cap", {"what": "latency_ms", "at_most": 2.5}),
    f"/try {SPEC}": ("try", {"spec": SPEC}),
    "/ban b*-n*-m*.*.*.*-a1***": ("ban", {"pattern": "b*-n*-m*.*.*.*-a1***"}),
    f"/near {SPEC}": ("near", {"spec": SPEC, "distance": 2.0}),
    f"/near {SPEC} 3": ("near", {"spec": SPEC, "distance": 3.0}),
    "/explore": ("mode", {"mode": "explore"}),
    "/exploit": ("mode", {"mode": "exploit"}),
    "/rounds 12": ("rounds", {"rounds": 12}),
    "/pause": ("pause", {}),
    "/stop": ("stop", {}),
    "/bounds dropout 0 0.2": ("strategy_bounds", {"field": "dropout", "low": 0.0, "high": 0.2}),
    "/backend openai:gpt-4.1": ("backend", {"llm": "openai:gpt-4.1"}),
    "/backend openai:x http://h/v1": ("backend", {"llm": "openai:x", "base_url": "http://h/v1"}),
    "/allowance max_cost=2 max_tokens=1M": ("allowance", {"max_cost": 2.0, "max_tokens": 1_000_000}),
}
COMMANDS = {
    "/resume": Command("resume"),
    "/undo": Command("undo"),
    "/undo 3": Command("undo", number=3),
    "/directives": Command("directives"),
    "/status": Command("status"),
    "/best": Command("best"),
    "/plot": Command("plot"),
    "/why 12": Command("why", number=12),
    "/compress 12": Command("compress", number=12, text="0.5"),
    "/compress 12 .3": Command("compress", number=12, text="0.3"),
    "/sql SELECT 1": Command("sql", text="SELECT 1"),
    "/help": Command("help"),
}
WRONG = {
    "/frieze attn_0=0": "'/frieze' is not a command; did you mean /freeze?",
    "/xyzzy": "'/xyzzy' is not a command; /help lists them",
    "/freeze atn_0=0": "'/freeze atn_0=0': atn_0 is not one of the numbers; did you mean attn_0?",
    "/freeze attn_0=2": "'/freeze attn_0=2': attn_0 may be 0, 1 in this search, not 2",
    "/freeze attn_0": "'/freeze attn_0': write a name, a comparison and a number, such as /freeze attn_0=0",
    "/freeze mult_0<=2": "'/freeze mult_0<=2': a number is frozen at one value; write /freeze attn_0=0, or /limit for "
    "several",
    "/limit base_channel<8": "'/limit base_channel<8': base_channel may be 8, 16, 24, 32 in this search, so nothing is "
    "left",
    "/limit base_channel<=8,16": "'/limit base_channel<=8,16': <= takes one number; write base_channel=1,2 for a list",
    "/cap params many": "'/cap params many': 'many' is not a number of params; write 6.06G, 20M or 20000000",
    "/cap speed 3": "'/cap speed 3': write what and how much, such as /cap params 40M; there are params, macs, "
    "macs_total, macs_paper, memory, latency",
    "/cap latency nan": "'/cap latency nan': at_most: Input should be a finite number",
    "/try": "'/try': something is missing; write /try b128-n2-m1.2.2.2-a0100",
    "/try b8": "'/try b8': spec: 'b8' is not a spec; write it like b128-n2-m1.2.2.2-a0100",
    "/rounds -1": "'/rounds -1': '-1' is not a number of rounds; write /rounds 12",
    "/pause now": "'/pause now': this command takes nothing more",
    "/compress": "'/compress': something is missing; write /compress 12 0.5",
    "/compress best": "'/compress best': 'best' is not a number of a trial; write /compress 12 0.5",
    "/compress 12 2": "'/compress 12 2': '2' is no share; write a number between 0 and 1, as in /compress 12 0.5",
    "/why": "'/why': something is missing; write /why 12",
    "/undo last": "'/undo last': 'last' is not a number of a directive; write /undo 3",
    "/allowance max_gpus=1": "'/allowance max_gpus=1': max_gpus is no allowance; there are max_cost, max_hours, "
    "max_tokens",
    "/bounds dropout 1 0": "'/bounds dropout 1 0': low 1 is above high 0",
}


@pytest.mark.parametrize("line", FORMS)
def test_a_slash_form_is_an_instruction(line: str) -> None:
    kind, arguments = FORMS[line]
    found = parse_slash(line, built_in("digits-8"))
    assert isinstance(found, DirectiveKind)
    assert (found.model_dump()["kind"], arguments_of(found)) == (kind, arguments)


def test_every_kind_has_a_slash_form() -> None:
    assert {kind for kind, _ in FORMS.values()} == set(KINDS)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_left_to_the_caller(line: str) -> None:
    assert parse_slash(line, built_in("digits-8")) == COMMANDS[line]


@pytest.mark.parametrize("line", WRONG)
def test_a_mistake_is_one_sentence_that_starts_with_what_was_typed(line: str) -> None:
    with pytest.raises(UserError) as mistake:
        parse_slash(line, built_in("digits-8"))
    assert str(mistake.value) == WRONG[line]


def test_every_command_has_a_parser_and_a_line_of_help() -> None:
    assert len(SLASH) == len(SLASH_HELP)


def test_the_tab_key_completes_names_parameters_values_specs_and_numbers() -> None:
    assert complete("/f", built_in("digits-8")) == ["/freeze"]
    assert complete("/ex", built_in("digits-8")) == ["/explore", "/exploit"]
    assert complete("/freeze attn", built_in("digits-8")) == ["attn_0=", "attn_1=", "attn_2=", "attn_3="]
    assert complete("/freeze attn_0=", built_in("digits-8")) == ["attn_0=0", "attn_0=1"]
    assert complete("/limit base_channel=1", built_in("digits-8")) == ["base_channel=16"]
    assert complete("/try b8", built_in("digits-8"), specs=[SPEC, "b16-n1-m1.1.1.1-a0000"]) == [SPEC]
    assert complete("/undo ", built_in("digits-8"), directives=[3, 12]) == ["3", "12"]
    assert complete("/cap la", built_in("digits-8")) == ["latency"]
    assert complete("/allowance max_cost=2 max_h", built_in("digits-8")) == ["max_hours="]
    assert complete("why not", built_in("digits-8")) == []
    assert complete("/rounds 1", built_in("digits-8")) == []
    assert len(complete("/freeze ", built_in("digits-8"))) == len(PAPER_PARAMETERS)


def test_the_spec_in_json_is_understood_too() -> None:
    text = UNetSpec.parse(SPEC).model_dump_json()
    found = parse_slash(f"/try {text}", built_in("digits-8"))
    assert isinstance(found, DirectiveKind)
    assert arguments_of(found) == {"spec": SPEC}
