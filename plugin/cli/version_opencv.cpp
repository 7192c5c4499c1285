/* See version_opencv.h. */
#include "cli/version_opencv.h"

#include <opencv2/core/utility.hpp>

#include <cstdio>

void print_opencv(void)
{
    std::printf("OpenCV %s\n", cv::getVersionString().c_str());
}
