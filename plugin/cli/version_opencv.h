/* What `deepkd version` says of OpenCV; nothing without OPENCV=1. */
#ifndef KD_VERSION_OPENCV_H
#define KD_VERSION_OPENCV_H

#ifdef OPENCV
#ifdef __cplusplus
extern "C" {
#endif

void print_opencv(void);

#ifdef __cplusplus
}
#endif
#else
static inline void print_opencv(void) {}
#endif

#endif
