"""Items and scorers: what is asked, how it is asked, and how answers are scored."""

from unmask.tasks.ask import ChatTokenizer as ChatTokenizer
from unmask.tasks.ask import messages as messages
from unmask.tasks.ask import plain_text as plain_text
from unmask.tasks.ask import row as row
from unmask.tasks.item import LETTERS as LETTERS
from unmask.tasks.item import Frame as Frame
from unmask.tasks.item import Item as Item
from unmask.tasks.item import Prompt as Prompt
from unmask.tasks.matching import Match as Match
from unmask.tasks.readers import load_task as load_task
from unmask.tasks.scoring import ItemScore as ItemScore
from unmask.tasks.scoring import choice_score as choice_score
from unmask.tasks.scoring import text_score as text_score
from unmask.tasks.task import Format as Format
from unmask.tasks.task import Measures as Measures
from unmask.tasks.task import Task as Task
from unmask.tasks.writing import write_task as write_task
