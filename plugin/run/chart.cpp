/* See chart.h. */
#include "run/chart.h"

#include <opencv2/highgui.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

using std::string;
using std::vector;
typedef std::chrono::steady_clock time_source;

struct loss_point {
    double batch, loss, average;
};

struct score_point {
    double batch, percent;
};

struct chart {
    std::ifstream csv;
    vector<string> columns;
    string title, score; /* "top-1" or "mAP@0.50" */
    vector<loss_point> losses;
    vector<score_point> scores;
    long max_batches;
    bool is_drawn, is_saved;                 /* saved: until that fails */
    bool with_window, has_window, is_closed; /* asked for; open; by its user */
    time_source::time_point drawn_at;
    time_source::duration drawing; /* took this long */
};

static const char *const file = "chart.png", *const temporary = "chart.png.tmp";
static const char *const window = "DeepKD";

/* Colours are BGR, places pixels. */
static const cv::Size size(1000, 720);
static const cv::Rect area(80, 70, 845, 530); /* between the axes */
static const cv::Scalar white(255, 255, 255), black(40, 40, 40), grey(110, 110, 110),
    grid(228, 228, 228), pale(235, 205, 165), blue(190, 95, 0), red(40, 40, 215);

/* The CSV file */

static vector<string> split(const string &line)
{
    vector<string> cells(1);
    for (char c : line)
        if (c == ',') cells.push_back("");
        else cells.back() += c;
    return cells;
}

/* The number in a column of a row; NaN where it has none. */
static double cell(const chart *c, const vector<string> &row, const char *column)
{
    size_t i = std::find(c->columns.begin(), c->columns.end(), column) - c->columns.begin();
    return i < row.size() && !row[i].empty() ? atof(row[i].c_str()) : NAN;
}

static void read_rows(chart *c)
{
    const char *score = c->score == "top-1" ? "valid_top1" : "valid_map50";
    string line;
    while (std::getline(c->csv, line)) {
        vector<string> row = split(line);
        double batch = cell(c, row, "batch"), value = cell(c, row, score);
        loss_point p = {batch, cell(c, row, "loss"), cell(c, row, "avg_loss")};
        if (std::isfinite(p.loss) && std::isfinite(p.average)) c->losses.push_back(p);
        if (std::isfinite(value)) c->scores.push_back({batch, 100 * value});
        c->is_drawn = false;
    }
    c->csv.clear(); /* of the end; there will be more */
}

/* Axes */

/* The smallest of 1, 2, 5, 10, 20 ... that divides a span into `most` steps or fewer. */
static double find_step(double span, int most)
{
    double power = pow(10, floor(log10(span / most)));
    for (double factor : {1., 2., 5.})
        if (span / (factor * power) <= most) return factor * power;
    return 10 * power;
}

/*
 * Where the axis of the losses ends. The averages fit, but the first ones of a detector, which
 * may be a thousand times the later ones and would make a line on the ground of those, do not.
 */
static double find_top(const vector<loss_point> &losses)
{
    vector<double> averages;
    for (const loss_point &p : losses) averages.push_back(p.average);
    std::sort(averages.begin(), averages.end());
    size_t n = averages.size();
    double top = n ? std::min(averages[n - 1], 8 * averages[n / 2]) : 0;
    if (!(top > 0)) return 1;
    double step = find_step(top, 10);
    return step * ceil(1.02 * top / step);
}

/* Drawing */

enum { SHIFT = 4, UNIT = 1 << SHIFT }; /* curves are drawn to a sixteenth of a pixel */

/* From fractions of the two axes to where OpenCV draws in `area`. */
static cv::Point place(double x, double y)
{
    y = std::max(-1., std::min(y, 9.)); /* what is off the chart need not be far off */
    return cv::Point(cvRound(x * (area.width - 1) * UNIT),
                     cvRound((1 - y) * (area.height - 1) * UNIT));
}

/* Text whose left end (align 0), middle (.5) or right end (1) is at x; returns its left end. */
static int put_text(cv::Mat &image, const string &text, double x, int y, double align,
                    const cv::Scalar &colour, double scale = .5)
{
    const int font = cv::FONT_HERSHEY_SIMPLEX;
    int base, width = cv::getTextSize(text, font, scale, 1, &base).width;
    cv::Point at(cvRound(x - align * width), y);
    cv::putText(image, text, at, font, scale, white, 4, cv::LINE_AA); /* legible on a line */
    cv::putText(image, text, at, font, scale, colour, 1, cv::LINE_AA);
    return at.x;
}

static string format(const char *pattern, double value)
{
    char text[64];
    snprintf(text, sizeof(text), pattern, value);
    return text;
}

static void draw_axes(cv::Mat &image, double batches, double top)
{
    double step = std::max(1., find_step(batches, 10));
    for (double batch = 0; batch <= batches; batch += step) {
        int x = area.x + cvRound(batch / batches * (area.width - 1));
        cv::line(image, {x, area.y}, {x, area.br().y - 1}, grid);
        put_text(image, format("%.0f", batch), x, area.br().y + 20, .5, grey);
    }
    step = find_step(top, 10);
    for (double loss = 0; loss < top + step / 2; loss += step) {
        int y = area.br().y - 1 - cvRound(loss / top * (area.height - 1));
        cv::line(image, {area.x, y}, {area.br().x - 1, y}, grid);
        put_text(image, format("%.4g", loss), area.x - 8, y + 5, 1, blue);
    }
    cv::rectangle(image, area, grey);
    put_text(image, "loss", area.x - 8, area.y - 14, 1, blue);
    put_text(image, "batch, of " + format("%.0f", batches), area.br().x, area.br().y + 44, 1,
             grey);
}

static void draw_curve(cv::Mat &plot, const vector<cv::Point> &points, const cv::Scalar &colour,
                       int thickness)
{
    cv::polylines(plot, points, false, colour, thickness, cv::LINE_AA, SHIFT);
}

static void draw_losses(cv::Mat &plot, const chart *c, double batches, double top)
{
    vector<cv::Point> losses, averages;
    for (const loss_point &p : c->losses) {
        losses.push_back(place(p.batch / batches, p.loss / top));
        averages.push_back(place(p.batch / batches, p.average / top));
    }
    draw_curve(plot, losses, pale, 1);
    draw_curve(plot, averages, blue, 2);
    if (!averages.empty())
        cv::circle(plot, averages.back(), 4 * UNIT, blue, cv::FILLED, cv::LINE_AA, SHIFT);
}

static void draw_scores(cv::Mat &image, cv::Mat &plot, const chart *c, double batches)
{
    vector<cv::Point> points;
    for (const score_point &p : c->scores)
        points.push_back(place(p.batch / batches, p.percent / 100));
    draw_curve(plot, points, red, 2);
    for (const cv::Point &p : points)
        cv::circle(plot, p, 4 * UNIT, red, cv::FILLED, cv::LINE_AA, SHIFT);
    for (int percent = 0; percent <= 100; percent += 10) {
        int y = area.br().y - 1 - percent * (area.height - 1) / 100;
        put_text(image, format("%.0f%%", percent), area.br().x + 8, y + 5, 0, red);
    }
    put_text(image, c->score, size.width - 8, area.y - 14, 1, red);
    /* the last one first, then those for which there is room */
    for (int i = points.size() - 1, room = size.width; i >= 0; --i) {
        int x = std::min(area.x + points[i].x / UNIT, area.br().x - 26);
        int y = area.y + points[i].y / UNIT;
        if (x > room) continue;
        put_text(image, format("%.1f%%", c->scores[i].percent), x,
                 y < area.y + 30 ? y + 24 : y - 12, .5, red);
        room = x - 64;
    }
}

static const score_point &find_best(const vector<score_point> &scores)
{
    return *std::max_element(
        scores.begin(), scores.end(),
        [](const score_point &a, const score_point &b) { return a.percent < b.percent; });
}

/* A piece of a curve and its name, which ends at x; returns where they begin. */
static int draw_key(cv::Mat &image, const string &name, int x, int y, const cv::Scalar &colour,
                    int thickness)
{
    int left = put_text(image, name, x, y, 1, blue, .6) - 8;
    cv::line(image, {left - 32, y - 5}, {left, y - 5}, colour, thickness);
    return left - 32;
}

static void draw_texts(cv::Mat &image, const chart *c)
{
    int top = area.y - 38, bottom = size.height - 30;
    put_text(image, c->title, area.x, top, 0, black, .75);
    int left = draw_key(image, "average", area.br().x, top, blue, 2);
    draw_key(image, "loss", left - 24, top, pale, 1);
    if (!c->losses.empty()) {
        const loss_point &p = c->losses.back();
        put_text(image,
                 format("batch %.0f, ", p.batch) + format("current avg loss %.4f", p.average),
                 area.x, bottom, 0, blue, .6);
    }
    if (!c->scores.empty()) {
        const score_point &last = c->scores.back(), &best = find_best(c->scores);
        put_text(image,
                 c->score + format(" %.2f%%, ", last.percent) +
                     format("best %.2f%% ", best.percent) + format("at %.0f", best.batch),
                 area.br().x, bottom, 1, red, .6);
    }
}

static cv::Mat draw(const chart *c)
{
    cv::Mat image(size, CV_8UC3, white), plot = image(area);
    double batches = std::max(1L, c->max_batches), top = find_top(c->losses);
    draw_axes(image, batches, top);
    draw_losses(plot, c, batches, top);
    if (!c->scores.empty()) draw_scores(image, plot, c, batches);
    draw_texts(image, c);
    return image;
}

/* Where the chart goes */

/* Writes the file beside the one that it replaces. On failure errno says why. */
static bool replace_file(const vector<uchar> &content)
{
    FILE *fp = fopen(temporary, "wb");
    if (!fp) return false;
    bool done = fwrite(content.data(), 1, content.size(), fp) == content.size();
    done = !fclose(fp) && done && !rename(temporary, file);
    if (!done) {
        int reason = errno;
        remove(temporary);
        errno = reason;
    }
    return done;
}

static void save(chart *c, const cv::Mat &image)
{
    vector<uchar> png;
    if (!c->is_saved) return;
    cv::imencode(".png", image, png);
    c->is_saved = replace_file(png);
    if (!c->is_saved)
        fprintf(stderr, "%s: %s; the run goes on without it\n", file, strerror(errno));
}

static bool has_display()
{
    for (const char *name : {"DISPLAY", "WAYLAND_DISPLAY"})
        if (getenv(name) && *getenv(name)) return true;
    return false;
}

/* A window that its user has closed stays closed. */
static void show(chart *c, const cv::Mat &image)
{
    try {
        if (c->has_window && !cv::getWindowProperty(window, cv::WND_PROP_VISIBLE))
            c->is_closed = true;
        if (c->is_closed) return;
        if (!c->has_window)
            cv::namedWindow(window, cv::WINDOW_AUTOSIZE | cv::WINDOW_GUI_NORMAL);
        cv::imshow(window, image);
        cv::waitKey(1);
        c->has_window = true;
    } catch (const cv::Exception &) {
        c->is_closed = true; /* this OpenCV has no windows */
    }
}

chart *make_chart(const char *csv_file)
{
    chart *c = new chart();
    string name = csv_file, line;
    name = name.substr(name.rfind('/') + 1);
    c->title = name.substr(0, name.rfind('.'));
    c->csv.open(csv_file);
    std::getline(c->csv, line);
    c->columns = split(line);
    c->score = line.find("valid_top1") != string::npos ? "top-1" : "mAP@0.50";
    c->is_saved = true;
    read_rows(c);
    return c;
}

static void put_chart(chart *c)
{
    time_source::time_point began = time_source::now();
    cv::Mat image = draw(c);
    save(c, image);
    c->is_drawn = true;
    c->drawn_at = time_source::now();
    c->drawing = c->drawn_at - began;
    if (c->with_window && has_display()) show(c, image);
}

void update_chart(chart *c, long max_batches, int show)
{
    c->max_batches = max_batches;
    c->with_window = show;
    read_rows(c);
    time_source::duration pause =
        std::max<time_source::duration>(std::chrono::seconds(1), 50 * c->drawing);
    if (time_source::now() - c->drawn_at >= pause) put_chart(c);
}

void free_chart(chart *c)
{
    if (!c->is_drawn && c->max_batches) put_chart(c);
    delete c;
}
