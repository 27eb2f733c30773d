"""A calculator that takes expressions and spoken arithmetic, in decimals."""

# ruff: noqa: RUF001 - Cyrillic words are what they seem to be

from __future__ import annotations

import decimal
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from vivavoce.agent.functions import ToolError, tool
from vivavoce.agent.toolbox.spoken import digits

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable

LONGEST: Final = 300
"""Characters of an expression."""
PRECISION: Final = 50
"""Significant digits of the arithmetic."""
SHOWN: Final = 12
"""Decimal places of a result that is not whole."""
_LARGEST_FACTORIAL: Final = 1000

_SAID: Final = (
    (r"^\W*(?:please|hey|so|um|now)\b[, ]*", ""),
    (r"^(?:can|could|would) you (?:please )?", ""),
    (r"^(?:what(?:['’]s| is| are| do| does)?|how much (?:is|are)|calculate|compute|work out|tell me)\b", ""),
    (r"^(?:add(?: up)?|сколько будет|посчитай)\b", ""),
    (r"\b(?:is|equals?|makes?|together|in total|please)\s*\??$", ""),
    (r"[?!=]+$", ""),
    (r"(?<=\d)[, ](?=\d{3}\b)", ""),
    (r"(?<=\d),(?=\d)", "."),
    (r"\b(?:the )?(?:square )?root of\b|корень из", " sqrt "),
    (r"√", " sqrt "),
    (r"\bto the power of\b|\braised to\b|в степени|\^", "**"),
    (r"\bsquared\b|в квадрате", "**2"),
    (r"\bcubed\b|в кубе", "**3"),
    (r"\bfactorial of\b", " factorial "),
    (r"(?:%|\bper ?cent\b|процент(?:а|ов)?)\s*(?:of\b|от)", "/100*"),
    (r"(\S+)\s*(\+|plus|-|minus)\s*(\d+(?:\.\d+)?)\s*(?:%|\bper ?cent\b)(?!\s*\w)", r"\1*(1 \2 \3/100)"),
    (r"%(?!\s*\d)|\bper ?cent\b|процент(?:а|ов)?", "/100"),
    (r"\b(?:a )?half of\b", "0.5*"),
    (r"\b(?:a )?quarter of\b", "0.25*"),
    (r"\b(?:a )?third of\b", "1/3*"),
    (r"\b(?:plus|and|add|added to)\b|плюс", "+"),
    (r"\b(?:minus|take away|less)\b|минус|−", "-"),
    (r"\b(?:times|multiplied by|multiply by|x)\b|умножить на|[×·⋅]|(?<=\d)\s*[xх]\s*(?=\d)", "*"),
    (r"\b(?:divided by|divide by|over)\b|(?:раз|по)делить на|[÷:]", "/"),
    (r"\bmod(?:ulo)?\b", "%"),
    (r"\bpi\b|π", "pi"),
    (r"\b(sqrt|factorial)\s+(\d+(?:\.\d+)?)", r"\1(\2)"),
)  # fmt: skip
"""What is said or written by hand, and what is meant; in this order."""
_WITHIN: Final = re.compile(
    r"(?:(?!(?:sqrt|factorial|abs|round|min|max|ln|log|sin|cos|tan)\b)[^\W\d_]+['’]?[^\W\d_]*[,.]?\s+)+?"
    r"((?:(?:sqrt|factorial)\s*\(|[\d.(])[\d.\s()*/%+-]*?(?:[*/%+-]\s*[\d.]+|\)))(?:[\s,.]+[^\W\d_]+)*\W*"
)
"""A calculation among other words: only it counts."""


def calculate(question: str) -> str:
    """Return an expression and what it comes to: "2 + 2 = 4".

    Raises:
        ToolError: it is none, or cannot be computed.
    """
    from simpleeval import InvalidExpression  # type: ignore[import-untyped]

    expression = _expression(question)
    try:
        with decimal.localcontext(prec=PRECISION):
            result = _evaluator().eval(expression)
            return f"{expression} = {_shown(result)}"
    except ZeroDivisionError:
        raise ToolError("A number cannot be divided by zero: say so.") from None
    except (ArithmeticError, OverflowError, MemoryError):
        raise ToolError("The result cannot be computed: it is too large, or there is none.") from None
    except (InvalidExpression, SyntaxError, ValueError, TypeError, AttributeError, RecursionError):
        raise ToolError(f"{question!r} is no calculation: give an expression such as 17 * (2 + 3).") from None


def _expression(question: str) -> str:
    if len(question) > LONGEST:
        raise ToolError(f"The expression is longer than {LONGEST} characters.")
    text = digits(question).strip()
    for pattern, meant in _SAID:
        text = re.sub(pattern, meant, text.strip())
    text = re.sub(r"(?<![\w.])0+(?=\d)", "", text)
    if within := _WITHIN.fullmatch(text):
        text = within[1]
    return " ".join(re.sub(r"\s*(\*\*|[-+*/%])\s*", r" \1 ", text).split()).rstrip(".")


def _evaluator() -> Any:
    from simpleeval import SimpleEval

    class Evaluator(SimpleEval):  # type: ignore[misc]  # the library has no types
        """Computes in decimals."""

        @staticmethod
        def _eval_constant(node: ast.Constant) -> Decimal:
            if isinstance(node.value, bool) or not isinstance(node.value, int | float):
                raise TypeError(node.value)
            return Decimal(str(node.value))

    functions: dict[str, Callable[..., Any]] = {
        "sqrt": lambda number: number.sqrt(),
        "abs": abs,
        "round": round,
        "min": min,
        "max": max,
        "ln": lambda number: number.ln(),
        "log": lambda number: number.log10(),
        "factorial": _factorial,
        "sin": _by_floats(math.sin),
        "cos": _by_floats(math.cos),
        "tan": _by_floats(math.tan),
    }
    evaluator = Evaluator(functions=functions, names={"pi": Decimal(str(math.pi)), "e": Decimal(1).exp()})
    evaluator.nodes = {kind: run for kind, run in evaluator.nodes.items() if kind.__name__ in _NODES}
    evaluator.nodes.update({kind: evaluator._eval_constant for kind in evaluator.nodes if kind.__name__ == "Constant"})  # noqa: SLF001
    return evaluator


_NODES: Final = frozenset(["Expr", "UnaryOp", "BinOp", "Constant", "Name", "Call"])


def _by_floats(function: Callable[[float], float]) -> Callable[[Decimal], Decimal]:
    return lambda number: Decimal(repr(round(function(float(number)), SHOWN)))


def _factorial(number: Decimal) -> Decimal:
    if number != int(number) or not 0 <= number <= _LARGEST_FACTORIAL:
        raise OverflowError(number)
    return Decimal(math.factorial(int(number)))


def _shown(result: Any) -> str:
    """Write a number as it is said: without an exponent, a tail of zeros or of rounding."""
    number = Decimal(result)
    if not number.is_finite():
        raise OverflowError(result)
    if abs(number) >= Decimal(10) ** 21:
        return f"{number:.6e}"
    rounded = round(number, SHOWN) if number != number.to_integral_value() else number
    text = f"{rounded or number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@tool(
    examples=(
        "What is seventeen times twenty three?",
        "How much is fifteen percent of eighty?",
        "Calculate 12.5 divided by 4.",
        "What's the square root of 144?",
        "Add 3.20 and 4.50.",
        "How much is three hundred minus forty seven?",
        "What's six plus nine?",
        "Сколько будет 15 процентов от 240?",
    ),
)
def calculator(question: str) -> str:
    """Calculate with numbers: add, subtract, multiply, divide, percentages, powers and roots.

    Args:
        question: The calculation, such as 17 * (2 + 3) or 15% of 80.
    """
    return calculate(question)
