#!/usr/bin/env python3
"""A task that small chat models do badly: an order in plain words, to be written as one line of JSON.

    orders.py make DIR                          train.jsonl (1200), test.jsonl (100), pairs.jsonl (600)
    orders.py score QORUS MODEL TEST [ADAPTER]  the share of orders written exactly right, and of fields

Names, goods and cities of the test do not come in the training set, nor do the sentences it shares none of its numbers with. Only the
standard library is needed; the same seed makes the same files."""
import json
import pathlib
import random
import subprocess
import sys

MONTHS = "January February March April May June July August September October November December".split()
WORDS = "one two three four five six seven eight nine ten eleven twelve".split()
FIRST = "Mara Jonas Aiko Tariq Elena Bruno Freya Omar Lucia Pavel Nadia Henrik Zoe Idris Carla Milan Ruth Sami Vera Anton".split()
LAST = "Lindt Okafor Brandt Silva Novak Haddad Moreau Keller Ito Petrov Costa Weber Larsen Diaz Marsh Kowal Adler Fontaine Nagy Bell".split()
GOODS = ["green tea", "printer paper", "brass screws", "olive oil", "desk lamps", "wool socks", "garden gloves", "blue paint", "oak boards",
         "glass jars", "rice flour", "phone cables", "paper cups", "candles", "field notebooks", "copper wire", "bath towels", "almonds"]
CITIES = "Oslo Lisbon Prague Ghent Turin Porto Krakow Leeds Malmo Bilbao Graz Nantes Tartu Cork Split Basel Bergen Aarhus".split()
UNITS = ["boxes", "crates", "packs", "bags", "sets", "pallets"]
FORMS = [
    "{name} from {city} orders {count} {unit} of {item}, to arrive by {date}.",
    "Please send {count} {unit} of {item} to {name} in {city} before {date}.",
    "We need {count} {unit} of {item} in {city} on {date}; the contact is {name}.",
    "Hello, this is {name}. Could you ship {count} {unit} of {item} to {city} until {date}? Thanks!",
    "By {date}, {count} {unit} of {item} have to be in {city}. Ask for {name}.",
    "{name} would like {count} {unit} of {item}. Deliver to {city}, {date} at the latest.",
    "For {city}: {item}, {count} {unit}, due {date}, attention {name}.",
]
ASK = "Write this order as one line of JSON with the keys name, item, count, unit, city and date (MM-DD).\n\n"


def order(rng, test):
    """The sentence and what it says. The last quarter of each list is the test's."""
    def pick(words):
        cut = len(words) * 3 // 4
        return rng.choice(words[cut:] if test else words[:cut])
    month, day, count = rng.randrange(12), rng.randint(1, 28), rng.randint(2, 60)
    name = f"{pick(FIRST)} {pick(LAST)}"
    said = WORDS[count - 1] if count <= 12 and rng.random() < 0.5 else str(count)
    date = rng.choice([f"{day} {MONTHS[month]}", f"{MONTHS[month]} {day}", f"the {day}. of {MONTHS[month]}"])
    fields = dict(name=name, item=pick(GOODS), count=count, unit=rng.choice(UNITS), city=pick(CITIES), date=f"{month + 1:02}-{day:02}")
    return rng.choice(FORMS).format(**{**fields, "count": said, "date": date}), fields


def line(fields):
    return json.dumps(fields, ensure_ascii=False)


def spoiled(rng, fields):
    """A worse answer: a field that is wrong, or a form that was not asked for."""
    bad = dict(fields)
    kind = rng.randrange(4)
    if kind == 0:
        bad["count"] += rng.choice([-1, 1, 10])
    elif kind == 1:
        month, day = bad["date"].split("-")
        bad["date"] = f"{day}-{month}" if day != month else f"{month}/{day}"
    elif kind == 2:
        bad.pop(rng.choice(["unit", "city", "date"]))
    else:
        return "Sure! Here is the order: " + line(fields)
    return line(bad)


def make(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(6)

    def write(name, count, test, entry):
        rows = [entry(*order(rng, test)) for _ in range(count)]
        (folder / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def chat(text, fields):
        return {"messages": [{"role": "user", "content": ASK + text}, {"role": "assistant", "content": line(fields)}]}

    def pair(text, fields):
        return {"messages": [{"role": "user", "content": ASK + text}], "chosen": line(fields), "rejected": spoiled(rng, fields)}

    write("train.jsonl", 1200, False, chat)
    write("test.jsonl", 100, True, chat)
    write("pairs.jsonl", 600, False, pair)


def score(qorus, model, test, adapter=None):
    exact = fields = 0
    rows = [json.loads(row)["messages"] for row in open(test)]
    for ask, answer in rows:
        # What SmolLM2's template makes of a user's message.
        prompt = ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
                  f"<|im_start|>user\n{ask['content']}<|im_end|>\n<|im_start|>assistant\n")
        command = [qorus, "run", "-m", model, "--special", "--temp", "0", "-n", "96", "--json", "-f", "-"]
        command += ["--lora", adapter] if adapter else []
        said = json.loads(subprocess.run(command, input=prompt, capture_output=True, text=True, check=True).stdout)["text"].strip()
        wanted = json.loads(answer["content"])
        exact += said == answer["content"]
        # The first object in the text, wherever it stands.
        try:
            found, _ = json.JSONDecoder().raw_decode(said[said.index("{"):])
        except ValueError:
            found = {}
        fields += sum(str(found.get(key)) == str(value) for key, value in wanted.items()) if isinstance(found, dict) else 0
    result = dict(orders=len(rows), exact=exact / len(rows), fields=fields / (6 * len(rows)))
    print(json.dumps(result))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", folder]:
            make(folder)
        case ["score", *rest] if 3 <= len(rest) <= 4:
            score(*rest)
        case _:
            sys.exit(__doc__)
