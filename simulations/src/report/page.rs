//! The page: what was asked, what came out, beside what was published.

use std::fmt::Write as _;

use super::{Answer, Measure, Rule, Section};

pub(super) fn write(answer: &Answer, command: &str) -> String {
    let mut page = format!("# {}\n{}\n\n", answer.name, answer.question.trim());
    let _ = writeln!(
        page,
        "**{}.** Made by `{command}`; numbers: [table.csv](table.csv). {}\n",
        answer.summary(),
        answer.sources.trim()
    );
    let compared = answer.measures().any(|one| one.beside.is_some());
    for section in &answer.sections {
        part(&mut page, section, compared);
    }
    page
}

/// The command that made a page, as the page says.
pub fn made_by(page: &str) -> Option<&str> {
    page.lines().find_map(|line| line.split_once("Made by `")?.1.split_once('`')).map(|it| it.0)
}

fn part(page: &mut String, section: &Section, compared: bool) {
    let _ = writeln!(page, "## {}", section.title);
    if !section.text.is_empty() {
        let _ = writeln!(page, "{}\n", section.text.trim());
    }
    if !section.measures.is_empty() {
        page.push_str(match compared {
            true => "| | found | 95% interval | published or target | |\n|---|---|---|---|---|\n",
            false => "| | found | 95% interval |\n|---|---|---|\n",
        });
        for one in &section.measures {
            row(page, one, compared);
        }
        page.push('\n');
    }
    if let Some(plot) = &section.plot {
        let _ = writeln!(page, "![{}]({}.svg)\n", plot.title, plot.name);
    }
}

fn row(page: &mut String, one: &Measure, compared: bool) {
    let unit = if one.unit.is_empty() { String::new() } else { format!(" {}", one.unit) };
    let interval = if one.found.half_width() == 0.0 && !one.sampled {
        "computed".to_owned()
    } else {
        format!("{} to {}", number(one.found.low), number(one.found.high))
    };
    let beside = match (one.beside, one.rule) {
        (None, _) | (_, Rule::Shown) => String::new(),
        (Some(beside), Rule::Range(to)) => format!("{} to {}", number(beside), number(to)),
        (Some(beside), Rule::Target) => format!("< {}", number(beside)),
        (Some(beside), Rule::AtLeast) => format!("> {}", number(beside)),
        (Some(beside), _) => number(beside),
    };
    let _ = write!(page, "| {} | {}{unit} | {interval} |", one.key, number(one.found.value));
    if compared {
        let _ = write!(page, " {beside} | {} |", one.verdict().word());
    }
    page.push('\n');
}

/// Three digits, in whichever form is shorter to read.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e5).contains(&size) {
        return format!("{value:.2e}");
    }
    let digits = (2 - size.log10().floor() as i32).clamp(0, 5);
    format!("{value:.*}", digits as usize)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.0, 1.2345, 0.012345, 123.45, 1.5e-5, 2e9].map(number);
        assert_eq!(shown, ["0", "1.23", "0.0123", "123", "1.50e-5", "2.00e9"]);
    }
}
