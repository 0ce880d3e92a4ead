//! The only way to the terminal. Colours are dropped where they can't be shown or aren't wanted.
use std::io::{self, IsTerminal, Write};

use anstream::AutoStream;

use crate::exit::Failure;
use crate::view::{self, Canvas};

/// Standard output and error, and what the terminal can do.
pub(crate) struct Output {
    out: AutoStream<io::Stdout>,
    err: AutoStream<io::Stderr>,
    canvas: Canvas,
    /// Lines of the status line on standard error that stand to be replaced.
    progress: bool,
}

impl Output {
    /// `unicode` says what a terminal without a locale can draw.
    pub(crate) fn for_terminal(unicode: bool) -> Self {
        Self {
            out: AutoStream::auto(io::stdout()),
            err: AutoStream::auto(io::stderr()),
            canvas: Canvas { width: width(), unicode: locale_is_unicode().unwrap_or(unicode) },
            progress: false,
        }
    }

    /// What can be drawn on, measured anew: a window may have changed.
    pub(crate) fn canvas(&mut self) -> Canvas {
        self.canvas.width = width();
        self.canvas
    }

    /// Whether a person watches standard output.
    pub(crate) fn is_interactive(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Writes text to standard output.
    pub(crate) fn print(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    /// Writes a line to standard output.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.print(text)?;
        self.print("\n")
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Shows for the moment what is going on; the next call, or any other output, takes its place.
    pub(crate) fn progress(&mut self, text: &str) {
        if io::stderr().is_terminal() {
            // Best effort: the outcome is reported elsewhere.
            let _ = write!(self.err, "\r\x1b[K{text}");
            let _ = self.err.flush();
            self.progress = true;
        }
    }

    /// Takes the passing line away.
    pub(crate) fn end_progress(&mut self) {
        if std::mem::take(&mut self.progress) {
            let _ = write!(self.err, "\r\x1b[K");
            let _ = self.err.flush();
        }
    }

    /// A line on standard error.
    pub(crate) fn note(&mut self, text: &str) {
        self.end_progress();
        let _ = writeln!(self.err, "{text}");
    }

    /// The end of a command that failed.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        self.end_progress();
        let _ = self.out.flush();
        if let Some(explanation) = &failure.explanation {
            let text = view::explanation(explanation, self.canvas());
            let _ = self.err.write_all(text.as_bytes());
        }
    }
}

fn width() -> usize {
    let measured = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    // Long lines are hard to read even where they fit.
    measured.unwrap_or(100).clamp(24, 100)
}

/// `None` where no locale is set.
fn locale_is_unicode() -> Option<bool> {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?
        .to_ascii_lowercase();
    Some(locale.contains("utf-8") || locale.contains("utf8"))
}
