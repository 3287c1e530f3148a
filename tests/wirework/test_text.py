"""The text form and files: what is written is read back, and every fault is named with its line."""

import doctest
import string
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wirework.files
import wirework.text
from wirework import Diagram, Equation, Sum, evaluate, isotopic, lay_out, parse, tensor
from wirework.algebra import apply
from wirework.derivative import nabla
from wirework.diagram import Copy, Leg, Open, Port, Tensor
from wirework.errors import DiagramError, FileError
from wirework.files import load, read
from wirework.layout import measure
from wirework.layout.hints import Group, Relation
from wirework.text import parse_drawable, parse_equation, write


def test_examples_in_docstrings_hold():
    for module in (wirework.text, wirework.files):
        found = doctest.testmod(module)
        assert found.attempted and not found.failed


READ_BACK = (
    "i: 2 A[i j] x[j] - y[i]",
    "i: -A[i j] x[j] + 0.5 y[i]",
    "i: 1 y[i]",
    "i: -y[i]",
    "i j:d: 0",
    ": 3",
    ": 2 - x[i] x[i]",
    ": 1 + x[i] x[i]",
    ": -1",
    ": ",
    "q k: softmax(k){q k: S[q k]}[q k]",
    "q d: softmax(k){q k: 0.125 S[q k] + M[q k]}[q k] V[k d]",
    "i: relu(){i:d: A[i:d j] x[j]}[i:d]",
    "i: layer_norm(i){i: exp(){i: x[i]}[i]}[i]",
    "i:d j:d: softmax(a, b){a:d b:d: S[a:d b:d]}[i:d j:d]",
    "i j k: d/dA{i: A[i l] x[l]}[i j k]",
    "i: A[i j] x[j] = y[i]",
    'i: A[i j] x[j] = "by definition" 2 y[i] - z[i] ≈ 0',
    "i: A*[i j] x*[j] ≤ copy[i]",
)


@pytest.mark.parametrize("text", READ_BACK)
def test_the_text_form_is_read_back(text):
    drawable = parse_drawable(text)
    written = write(drawable)
    assert parse_drawable(written) == drawable
    if ":d" not in text:
        assert written == text


NAMES = st.text(string.ascii_letters + "_'αΣ", min_size=1, max_size=4).filter(
    lambda name: name != "copy"
)


@st.composite
def diagrams(draw, opened=("i", "j'"), dims=("d", "i")):
    """Random nodes, whose legs are wired up at random; the rest is summed by copies."""
    nodes = [
        Tensor(draw(NAMES), tuple(Leg(draw(NAMES), draw(st.sampled_from(dims))) for _ in range(n)),
               conjugate=draw(st.booleans()))
        for n in draw(st.lists(st.integers(0, 3), max_size=4))
    ]  # fmt: skip
    free: dict[str, list[Port]] = {dim: [] for dim in dims}
    for number, node in enumerate(nodes):
        for place, leg in enumerate(node.legs):
            free[leg.dim].append(Port(number, place))
    wires, ends = [], []
    made: list = list(nodes)
    for name, dim in zip(opened, dims, strict=True):
        if not free[dim]:
            made.append(Copy((Leg(name, dim),)))
            free[dim].append(Port(len(made) - 1, 0))
        ends.append(Open(Leg(name, dim), free[dim].pop(0)))
        ports = draw(st.permutations(free[dim]))
        if len(ports) % 2:
            made.append(Copy((Leg("one", dim),)))
            ports = [*ports, Port(len(made) - 1, 0)]
        wires += zip(ports[::2], ports[1::2], strict=True)
    return Diagram(tuple(made), tuple(wires), tuple(ends))


FACTORS = st.floats(allow_nan=False, allow_infinity=False).filter(bool)


# beartype draws which elements of a list it looks at; hypothesis takes that for ours.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FACTORS, diagrams()), min_size=1, max_size=3))
def test_random_sums_and_their_functions_are_read_back(terms):
    total = Sum(tuple(terms))
    boxed = apply("softmax", apply("exp", total), "i")
    for one in (total, boxed, terms[0][1]):
        again = parse(str(write(one)))
        assert isinstance(again, type(one))
        assert write(again) == write(one)
    again = parse(write(total))
    assert [factor for factor, _ in again.terms] == [factor for factor, _ in terms]
    for (_, before), (_, after) in zip(terms, again.terms, strict=True):
        assert isotopic(before, after)


def test_what_is_read_has_the_value_that_is_meant():
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal((3, 3)) for name in "AB"} | {"x": rng.standard_normal(3)}
    a, b, x = arrays["A"], arrays["B"], arrays["x"]
    kinds = {name: tensor(name, "a:d b:d").nodes[0] for name in "AB"}
    kinds["x"] = tensor("x", "a:d").nodes[0]
    cases = {
        "i: 2 A[i j] x[j] - x[i]": 2 * a @ x - x,
        "i k: A[i j] B[j k] - 0.5 B[i k]": a @ b - 0.5 * b,
        "i: relu(){i: A[i j] x[j] - x[i]}[i]": np.maximum(a @ x - x, 0),
        ": x[i] x[i] - 1": x @ x - 1,
        "j i: A[i j] + B[j i]": a.T + b,
    }
    for text, expected in cases.items():
        np.testing.assert_allclose(evaluate(parse(text, kinds), arrays), expected, err_msg=text)


def test_a_derivative_is_read_back():
    loop = nabla(parse("i: A[i j] x[j]"), "A")
    assert write(parse(write(loop))) == write(loop)


def test_dimensions_are_those_declared_and_open_legs_share_theirs():
    W = Tensor("W", (Leg("a", "model"), Leg("b", "head", "up")), isometry=(1,), real=False)
    diagram = parse("i: W[x j] E[i x] W*[y j] F[y]", {"W": W})
    assert [leg.dim for leg in diagram.nodes[1].legs] == ["i", "model"]
    assert [leg.side for leg in diagram.nodes[0].legs] == [None, "up"]
    assert diagram.nodes[2].conjugate and diagram.nodes[2].isometry == (1,)
    assert not diagram.nodes[0].real
    total = parse("i: x[i:d] + y[i]")
    assert [leg.dim for _, term in total.terms for leg in term.legs] == ["d", "d"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("i: 2 x[i] +", r"a term after '\+', got ''"),
        ("i: x[i] - - y[i]", "a term after '-', got ' - y"),
        ("i: relu{i: x[i]}[i]", "legs along which relu acts.*'\\(\\)'.*d/dNAME"),
        ("i: relu(){i: x[i]", "expected '}' after what relu is applied to, got ''"),
        ("i: relu(){i: x[i]}", "legs in brackets after 'relu\\(\\)', got ''"),
        ("i: relu()[i]", "legs in brackets after 'relu\\(\\)', got ''.*exp"),
        ("i: relu(){x[i]}[i]", "open legs: tensors"),
        ("i: sin(){i: x[i]}[i]", "function among exp, .*got 'sin'"),
        ("i: softmax(){i: x[i]}[i]", "legs along which it acts for softmax"),
        ("i: softmax(k){i: x[i]}[i]", "inside of softmax among i, got 'k'.*names there"),
        ("i: relu(){i: x[i]}[i j] y[j]", "1 legs for relu, which is applied to"),
        ("i: W[i]", "2 legs for W, which is declared with as many, got \\[i\\]"),
        ("i: x[i] = y[i]", "got an equation.*parse_equation"),
        ("i: x[i] = ?", "got '\\?'"),
    ],
)
def test_refusals_say_what_was_expected(text, message):
    with pytest.raises(DiagramError, match=message):
        parse(text, {"W": Tensor("W", (Leg("a", "a"), Leg("b", "b")))})


def test_an_equation_is_asked_for_as_one():
    assert isinstance(parse_equation("i: x[i] = y[i]"), Equation)
    with pytest.raises(DiagramError, match="expected an equation, got no sign such as ="):
        parse_equation("i: x[i]")


# Files

FILE = """\
# The part of a head that decides where to look.
tensor W_Q[d:model head] isometry head, up head
tensor S[a:d b:d] symmetric a b, zero
tensor z[i] complex

figure scores
q k: E[q d] W_Q[d h] W_K[e h] F[k e]  # goes on below
  = "by definition"
    # a comment between
    A[q k]
pin W_Q 0 0
pin W_K -12.5 40
place W_K right of W_Q
place E in column with A
group "where to look": W_Q W_K
group "" E 3
i k: S[i j] S[j k]
pin S#2 1 2
"""


def test_a_file_is_read_with_kinds_and_hints():
    scores, second = read(FILE)
    assert (scores.name, scores.line, second.name, second.line) == ("scores", 7, "2", 17)
    assert isinstance(scores.drawable, Equation)
    assert scores.drawable.notes == ("by definition",)
    query = scores.drawable.sides[0].nodes[1]
    assert query.isometry == (1,) and query.legs[1].side == "up" and query.legs[0].dim == "model"
    assert scores.hints.pins == {"W_Q": (0.0, 0.0), "W_K": (-12.5, 40.0)}
    assert scores.hints.relations == (
        Relation("W_K", "right of", "W_Q"),
        Relation("E", "in column with", "A"),
    )
    assert scores.hints.groups == (Group("where to look", ("W_Q", "W_K")), Group("", ("E", 3)))
    assert second.hints.pins == {"S#2": (1.0, 2.0)}
    assert all(node.symmetric == ((0, 1),) and node.zero for node in second.drawable.nodes)
    (last,) = read("tensor z[i] complex\n: z[i] z*[i]")
    assert not any(node.real for node in last.drawable.nodes)


def test_a_file_may_begin_with_a_mark_and_have_any_ends_of_lines():
    assert len(read("\ufeffi: x[i]\r\ni: y[i]\r\n")) == 2


def test_the_example_of_the_reference_is_read():
    said = (wirework.files.__doc__ or "").split("::\n\n", 1)[1].split("\nAn expression", 1)[0]
    (figure,) = read("\n".join(line[4:] for line in said.splitlines()))
    assert figure.name == "scores" and figure.hints.groups
    assert lay_out(figure.drawable, figure.hints).shapes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected an expression, got the end of f.txt"),
        ("figure a", "expression after figure a, got the end"),
        ("hello", "line 1: expected an expression, or a line that begins with tensor, .*'hello'"),
        ("\n\ni: A(i)", "f.txt, line 3: expected tensors as NAME"),
        ("i: A[i j]\n  x[k]", "line 1: expected leg 'j' to join two legs"),
        ("tensor U", "expected 'tensor NAME\\[legs\\] kind', got 'U'"),
        ("tensor U[a]\ntensor U[a]", "line 2: expected one declaration of U, got a second"),
        ("tensor U[a b] isometry c", "one leg among \\[a b\\] in 'isometry c', got 'c'"),
        ("tensor U[a a] isometry a", "one leg among \\[a a\\].*name of its own"),
        ("tensor U[a b] isometry", "expected zero, .*got 'isometry' for U"),
        ("tensor U[a b] symmetric a", "expected zero, .*got 'symmetric a' for U"),
        ("tensor U[a b] sideways a", "expected zero, .*got 'sideways a' for U"),
        ("tensor U[a b] zero a", "expected zero, .*got 'zero a'"),
        ("figure a b", "new name of letters.*'a b'"),
        ("figure ../x", "new name of letters.*'../x'"),
        ("figure a\ni: x[i]\nfigure a", "line 3: expected a new name.*'a'"),
        ("figure a\nfigure b", "line 2: expected an expression after figure a, got figure b"),
        ("pin A 0 0", "line 1: expected an expression before 'pin A 0 0'"),
        ("i: x[i]\npin x 0", "line 2: expected 'pin NODE X Y', got 'pin x 0'"),
        ("i: x[i]\npin", "line 2: expected 'pin NODE X Y'"),
        ("i: x[i]\npin x nan 0", "expected 'pin NODE X Y'"),
        ("i: x[i]\npin y 0 0", "expected a node of the figure, got 'y'; there are: x"),
        (": x[i] x[i]\npin x 0 0", "line 2: expected the name of one node, got 'x', .*x#1"),
        ("i: x[i]\npin x#2 0 0", "expected a node of the figure, got 'x#2'"),
        ("i: x[i]\npin x#0 0 0", "expected a node of the figure, got 'x#0'"),
        ("i: x[i]\npin 1 0 0", "expected a node of the figure, got '1'"),
        ("i: x[i]\nplace x near x", "'place NODE RELATION NODE'.*left of, right of"),
        ("i: x[i]\ngroup x", "expected 'group \"TITLE\": NODE NODE ...', got 'group x'"),
        ('i: x[i]\ngroup "t":', "expected 'group"),
    ],
)
def test_every_fault_of_a_file_is_named_with_its_line(text, message):
    with pytest.raises(FileError, match=message):
        read(text, "f.txt")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(FileError, match="a file at .*none.txt, got: No such file"):
        load(tmp_path / "none.txt")
    with pytest.raises(FileError, match="got: Is a directory"):
        load(tmp_path)
    (tmp_path / "binary").write_bytes(b"i: x\xff[i]")
    with pytest.raises(FileError, match="UTF-8 in .*binary, got the byte 0xff at 4"):
        load(tmp_path / "binary")
    (tmp_path / "good.txt").write_text("i: x[i]")
    assert load(tmp_path / "good.txt")[0].drawable == parse("i: x[i]")


def test_the_example_of_the_reference_is_read_and_drawn():
    reference = wirework.files.__doc__
    example = textwrap.dedent(reference.split("::\n\n", 1)[1].split("\nAn expression", 1)[0])
    (figure,) = read(example, "example")
    assert figure.name == "scores" and figure.hints.groups
    assert measure(lay_out(figure.drawable, figure.hints)).overlaps == 0
