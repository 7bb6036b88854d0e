//! Draws how a store's figures grow with its messages: a panel a figure, both axes logarithmic, as an SVG.
//! Never measures, and leaves out a figure that was not measured at two sizes.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, BLUE, ChartBuilder, Circle, DashedLineSeries, DrawingArea, IntoDrawingArea,
    IntoLogRange, LineSeries, RED, SVGBackend, ShapeStyle, WHITE,
};
use serde_json::Value;
use std::path::Path;

const COLUMNS: usize = 3;
const PANEL: (u32, u32) = (320, 240);

/// One figure of the growth.
struct Panel {
    step: &'static str,
    field: &'static str,
    title: &'static str,
    /// What it should stay below, or above, and from how many messages up to how many.
    limits: &'static [(f64, f64, f64)],
}

const PANELS: [Panel; 12] = [
    panel("opened", "open_s", "open, s", &[(1e4, 1e6, 2.0), (1e6, 1e7, 5.0)]),
    panel(
        "opened",
        "open_rss_mb",
        "memory after opening, MB",
        &[(1e4, 1e6, 300.0), (1e6, 1e7, 1000.0)],
    ),
    panel("kept", "open_s", "open, closed days packed, s", &[(1e6, 1e7, 5.0)]),
    panel("kept", "open_rss_mb", "memory, closed days packed, MB", &[(1e6, 1e7, 1000.0)]),
    panel("kept", "put_rate", "put, closed days packed, messages/s", &[]),
    panel("opened", "put_rate", "put, messages/s", &[]),
    panel("opened", "ls_recent_ms", "first page of a day, ms", &[(1e4, 1e7, 20.0)]),
    panel("opened", "ls_recipient_ms", "ls --recipient, 30 days, ms", &[(1e4, 1e6, 1000.0)]),
    panel("expired", "expire_ms", "a day expired, ms", &[(1e4, 1e7, 100.0)]),
    panel("opened", "read_recent_p50_ms", "cold read, recent, p50, ms", &[(1e4, 1e7, 1.0)]),
    panel("opened", "read_packed_p50_ms", "cold read, packed, p50, ms", &[(1e4, 1e7, 4.0)]),
    panel("rebuild", "records_per_s", "index rebuild, records/s", &[(1e4, 1e7, 200_000.0)]),
];

const fn panel(
    step: &'static str,
    field: &'static str,
    title: &'static str,
    limits: &'static [(f64, f64, f64)],
) -> Panel {
    Panel { step, field, title, limits }
}

/// Draws all panels that the parts have figures for.
pub(super) fn draw(parts: &[Value], path: &Path) -> Result<()> {
    let drawn: Vec<(&Panel, Vec<(f64, f64)>)> = PANELS
        .iter()
        .map(|panel| (panel, points(panel, parts)))
        .filter(|(_, points)| points.len() > 1)
        .collect();
    let rows = drawn.len().div_ceil(COLUMNS).max(1);
    let size = (PANEL.0 * COLUMNS as u32, PANEL.1 * u32::try_from(rows)?);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;
    for ((panel, points), area) in drawn.iter().zip(area.split_evenly((rows, COLUMNS))) {
        draw_panel(panel, points, &area).map_err(|why| anyhow!("{}: {why}", panel.title))?;
    }
    Ok(area.present()?)
}

fn points(panel: &Panel, parts: &[Value]) -> Vec<(f64, f64)> {
    let grown = parts.iter().filter(|part| part["step"] == panel.step);
    let point = |part: &Value| Some((part["messages"].as_f64()?, part[panel.field].as_f64()?));
    grown.filter_map(point).filter(|(_, value)| *value > 0.0).collect()
}

fn draw_panel(
    panel: &Panel,
    points: &[(f64, f64)],
    area: &DrawingArea<SVGBackend<'_>, Shift>,
) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let first = points.iter().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let last = points.iter().map(|point| point.0).fold(0.0, f64::max);
    let limits = panel.limits.iter().filter(|limit| limit.0 <= last && limit.1 >= first);
    let limits: Vec<[(f64, f64); 2]> = limits
        .map(|(from, to, limit)| [(from.max(first), *limit), (to.min(last), *limit)])
        .collect();
    let values = points.iter().chain(limits.iter().flatten()).map(|point| point.1);
    let low = values.clone().fold(f64::INFINITY, f64::min) / 2.0;
    let high = values.fold(0.0, f64::max) * 2.0;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(panel.title, ("sans-serif", 14))
        .x_label_area_size(24)
        .y_label_area_size(52)
        .build_cartesian_2d((first..last).log_scale(), (low..high).log_scale())
        .map_err(|error| said(&error))?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_mesh().x_labels(4).y_labels(5).axis_style(BLACK);
    mesh.x_label_formatter(&|value| format!("10^{:.0}", value.log10()));
    mesh.y_label_formatter(&|value| format!("{value}"));
    mesh.draw().map_err(|error| said(&error))?;
    let line = LineSeries::new(points.iter().copied(), BLUE);
    chart.draw_series(line).map_err(|error| said(&error))?;
    let dots = points.iter().map(|point| Circle::new(*point, 3, ShapeStyle::from(BLUE).filled()));
    chart.draw_series(dots).map_err(|error| said(&error))?;
    for limit in limits {
        let line = DashedLineSeries::new(limit, 4, 4, ShapeStyle::from(RED));
        chart.draw_series(line).map_err(|error| said(&error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::draw;
    use serde_json::json;

    #[test]
    fn a_figure_of_two_sizes_has_a_panel_and_one_of_a_single_size_has_none() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("growth.svg");
        let parts = [
            json!({"part": "grow", "step": "opened", "messages": 10_000, "open_s": 0.1, "put_rate": 5}),
            json!({"part": "grow", "step": "opened", "messages": 100_000, "open_s": 0.2}),
        ];
        draw(&parts, &path).expect("it can be drawn");
        let svg = std::fs::read_to_string(path).expect("it was drawn");
        assert!(svg.contains("open, s") && !svg.contains("put"), "{svg}");
    }
}
